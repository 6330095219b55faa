"""The way from records to a person, for real: feeder, service, Prometheus, rule, Alertmanager, webhook."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 180.0
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "vaegis.json").read_text(encoding="utf-8"))


@dataclass
class UpLocal:
    """What `make up-local` started, and what it has printed."""

    process: subprocess.Popen[str]
    lines: list[str]

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the match of the first line printed that has one."""
        deadline = time.monotonic() + DEADLINE_S
        pause = threading.Event()
        while True:
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            printed = "".join(self.lines)
            assert self.process.poll() is None, printed
            assert time.monotonic() < deadline, f"expected a line with {pattern!r}, got\n{printed}"
            pause.wait(0.2)


@pytest.fixture(scope="module")
def up_local(tmp_path_factory: pytest.TempPathFactory, golden_model: Path) -> Iterator[UpLocal]:
    """Start everything on the golden model and free ports."""
    process = subprocess.Popen(
        [
            *(sys.executable, ROOT / "deploy" / "local.py", "--free-ports", "--model", golden_model),
            *("--folder", tmp_path_factory.mktemp("up-local")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    yield UpLocal(process, lines)
    process.terminate()
    process.wait(timeout=DEADLINE_S)
    reader.join()
    process.stdout.close()


@pytest.fixture(scope="module")
def prometheus(up_local: UpLocal) -> str:
    return up_local.wait_for(r"prometheus +(http://\S+)")[1]


def query(prometheus: str, expression: str) -> list[dict[str, Any]]:
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]["result"]


def test_records_and_the_columns_of_anomalies_are_reported(up_local: UpLocal) -> None:
    up_local.wait_for(r"scored [\d,]+ records, flagged \d+.*amount out of range \d+")


def test_an_alert_reaches_the_webhook(up_local: UpLocal) -> None:
    fired = up_local.wait_for(r"FIRING +VaegisFlaggedShareHigh: ([\d.]+)% of the records")
    assert 1 < float(fired[1]) < 100


def test_every_recording_rule_is_evaluated_without_an_error(up_local: UpLocal, prometheus: str) -> None:
    up_local.wait_for("FIRING")
    with urllib.request.urlopen(f"{prometheus}/api/v1/rules", timeout=10) as answer:
        rules = [rule for group in json.load(answer)["data"]["groups"] for rule in group["rules"]]
    assert rules
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []


def test_every_panel_of_the_dashboard_shows_data(up_local: UpLocal, prometheus: str) -> None:
    up_local.wait_for("FIRING")
    service = up_local.wait_for(r"vaegis +(http://\S+)")[1]
    # Of all that the panels show, the feeder sends refused records only after two minutes.
    for _ in range(2):
        refused = urllib.request.Request(
            f"{service}/score", b'{"amount": "many"}', {"Content-Type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(refused, timeout=10)
    expressions = {
        (panel["title"], target["expr"]): target["expr"].replace("$job", "vaegis").replace("$__rate_interval", "1m")
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    }
    assert len(expressions) > 20
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while empty := [name for name, expression in expressions.items() if not has_numbers(query(prometheus, expression))]:
        assert time.monotonic() < deadline, f"expected data, got none for {empty}"
        pause.wait(1)


def has_numbers(result: list[dict[str, Any]]) -> bool:
    return any(math.isfinite(float(series["value"][1])) for series in result)
