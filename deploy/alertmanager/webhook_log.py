"""Print one line for each alert that Alertmanager sends: a stand-in for a pager or a chat.

Run: python webhook_log.py 0.0.0.0 9095
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Webhook(BaseHTTPRequestHandler):
    """Alertmanager's webhook_configs."""

    def do_POST(self) -> None:
        """Print the alerts of a notification."""
        notification = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in notification["alerts"]:
            labels, annotations = alert["labels"], alert["annotations"]
            print(f"{alert['status'].upper():<8} {labels['alertname']}: {annotations['summary']}", end=" ")
            print(f"({annotations['runbook_url']})", flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log no requests, so that alerts alone are printed."""


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Webhook).serve_forever()
