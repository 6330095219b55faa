"""The configuration of docs/shippers.md that says it was run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "shippers.md"
RECORDS = 1200
TIMEOUT_S = 120


def scored(url: str) -> tuple[int, int]:
    """Return how many records the service scored, and how many it flagged."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=TIMEOUT_S) as answer:
        metrics = answer.read().decode()
    names = ("vaegis_records_scored_total", "vaegis_records_flagged_total")
    scored, flagged = (int(float(re.search(rf"^{name}\{{.*\}} (\S+)$", metrics, re.MULTILINE)[1])) for name in names)
    return scored, flagged


@pytest.mark.skipif(shutil.which("syslog-ng") is None, reason="syslog-ng is not installed")
def test_syslog_ng_sends_every_line_once(serve, tmp_path):
    url = serve().url
    shown = re.search(r"```syslog-ng\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[1]
    for place, here in (("/var/log/orders.ndjson", tmp_path / "orders.ndjson"), ("http://127.0.0.1:8080", url)):
        assert shown.count(place) == 1
        shown = shown.replace(place, str(here))
    (tmp_path / "syslog-ng.conf").write_text(shown, encoding="utf-8")
    record = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}
    records = [*([record] * RECORDS), record | {"amount": 1e9}]
    (tmp_path / "orders.ndjson").write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    own = [f"--{name}={tmp_path / name}" for name in ("persist-file", "pidfile", "control")]
    command = ["syslog-ng", "--foreground", "--no-caps", f"--cfgfile={tmp_path / 'syslog-ng.conf'}", *own]
    shipper = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while scored(url)[0] < len(records):
            assert shipper.poll() is None, shipper.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        shipper.terminate()
        shipper.communicate(timeout=TIMEOUT_S)
    assert scored(url) == (len(records), 1)
