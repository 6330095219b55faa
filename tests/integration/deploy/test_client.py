"""The client of deploy/pipelines: every record gets one verdict, whatever happens to the service and to the client."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

CLIENT = Path(__file__).parents[3] / "deploy" / "pipelines" / "client.py"
TIMEOUT_S = 120
RECORDS = 2_000
BATCH = 10


class Run:
    """The client on `records.ndjson` of a folder, and what it wrote there."""

    def __init__(self, folder: Path, url: str, batch: int) -> None:
        self.verdicts, self.refused = folder / "verdicts.ndjson", folder / "refused.ndjson"
        arguments = (folder / "records.ndjson", "-o", self.verdicts, "--refused", self.refused)
        self.process = subprocess.Popen(
            [sys.executable, CLIENT, *arguments, "--url", url, "--batch", str(batch)], stderr=subprocess.PIPE, text=True
        )

    def wait_for_verdicts(self, count: int) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not self.verdicts.exists() or self.verdicts.read_bytes().count(b"\n") < count:
            assert self.process.poll() is None, "the client ended before it could be interrupted"
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def finish(self) -> str:
        _, log = self.process.communicate(timeout=TIMEOUT_S)
        assert self.process.returncode == 0, log
        return log

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.verdicts.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start clients on `tmp_path/records.ndjson`, which end with the test."""
    runs = []

    def start(url: str, batch: int = BATCH) -> Run:
        runs.append(Run(tmp_path, url, batch))
        return runs[-1]

    yield start
    for started in runs:
        started.process.kill()
        started.process.communicate()


def write_orders(folder: Path, count: int) -> None:
    lines = (json.dumps({"amount": 10.0 + row / 100, "country": "DE", "express": False}) for row in range(count))
    (folder / "records.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_every_record_is_scored_once_although_the_service_is_killed(serve, run, tmp_path):
    write_orders(tmp_path, RECORDS)
    first = serve()
    client = run(first.url)
    client.wait_for_verdicts(5 * BATCH)
    first.process.kill()
    first.process.wait()
    serve("--port", str(first.address[1]))
    log = client.finish()
    verdicts = client.read()
    assert [verdict["row"] for verdict in verdicts] == list(range(RECORDS))
    assert all(0 < verdict["p_value"] <= 1 for verdict in verdicts)
    assert "Error; again in" in log, "the service was killed too late to be missed"


def test_a_killed_client_continues_after_its_last_verdict(serve, run, tmp_path):
    write_orders(tmp_path, RECORDS)
    url = serve().url
    client = run(url)
    client.wait_for_verdicts(5 * BATCH)
    client.process.send_signal(signal.SIGKILL)
    client.process.wait()
    with client.verdicts.open("a", encoding="utf-8") as output:
        output.write('{"row": 9')  # as if it was killed while it wrote
    client = run(url)
    client.finish()
    assert [verdict["row"] for verdict in client.read()] == list(range(RECORDS))


def test_refused_lines_are_set_aside_as_they_came_and_the_others_are_scored(serve, run, tmp_path):
    good = b'{"amount": 12.5, "country": "DE"}'
    bad = [
        b'{"amount": "many"}',
        b"not json",
        b'{"amount": 1, "note": "' + b"x" * 3_000 + b'"}',
        b'{"country": "\xff"}',
    ]
    lines = [good, bad[0], good, b"", bad[1], good, bad[2], good, bad[3], good]
    (tmp_path / "records.ndjson").write_bytes(b"\n".join(lines))
    client = run(serve("--max-document-bytes", "2048").url)
    client.finish()
    verdicts = {verdict["row"]: verdict for verdict in client.read()}
    assert list(verdicts) == [row for row, line in enumerate(lines) if line]
    assert client.refused.read_bytes().splitlines() == bad
    for row, verdict in verdicts.items():
        assert bool(verdict["errors"]) == (lines[row] in bad), verdict
        assert (verdict.get("score") is None) == (lines[row] in bad), verdict


def test_it_waits_as_long_as_a_busy_service_asks(serve, run, tmp_path):
    write_orders(tmp_path, 200)
    # The second batch comes too early unless this machine takes five seconds to send it.
    client = run(serve("--rate-records-per-s", "20", "--rate-burst-s", "5").url, batch=100)
    waits = [float(wait) for wait in re.findall(r"429; again in ([\d.]+) s", client.finish())]
    assert len(client.read()) == 200
    assert waits
    assert min(waits) >= 1


def test_a_proxy_may_answer_with_a_date_and_with_a_page(run, tmp_path):
    answers = iter([(503, {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}), (413, {"Content-Type": "text/html"})])

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = next(answers)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "6"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"<html>")

    write_orders(tmp_path, 1)
    with HTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        client = run(f"http://127.0.0.1:{proxy.server_port}")
        log = client.finish()
        proxy.shutdown()
    assert "503; again in 0." in log
    assert [verdict["errors"] for verdict in client.read()] == [[{"message": "Request Entity Too Large"}]]


def test_an_address_without_a_scheme_is_not_tried_again(run, tmp_path):
    write_orders(tmp_path, 1)
    client = run("127.0.0.1:8080")
    _, log = client.process.communicate(timeout=TIMEOUT_S)
    assert client.process.returncode == 1
    assert "UnsupportedProtocol" in log


def test_a_wrong_address_ends_it_with_the_answer(serve, run, tmp_path):
    write_orders(tmp_path, 1)
    client = run(f"{serve().url}/elsewhere")
    _, log = client.process.communicate(timeout=TIMEOUT_S)
    assert client.process.returncode == 1
    assert "got 404" in log
