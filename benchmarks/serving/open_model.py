"""Open model: requests at a rate of their own, whether or not earlier ones were answered, by k6."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.conditions import COMMANDS
from benchmarks.serving.bodies import Bodies
from benchmarks.serving.servers import LOAD_CORE, Server

OK: Final = 200
TOO_MANY: Final = 429
STATUSES: Final = (0, OK, TOO_MANY, 503, 504)
"""Answers that are told apart; 0 is a request without an answer."""

_SCRIPT: Final = Path(__file__).with_name("open_model.js")
_MOST_USERS: Final = 400


@dataclass(frozen=True, slots=True)
class Phase:
    """A constant arrival rate for a while.

    Attributes:
        name: Of the phase.
        rate: Requests a second.
        start_s: When it begins.
        seconds: How long it is.
        call: `score`, or `live` for /livez.
    """

    name: str
    rate: float
    start_s: float
    seconds: float
    call: str = "score"


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of one status in one phase.

    Attributes:
        count: How many.
        p50_s: Median time; None where there were none.
        p99_s: Its 99th percentile.
        greatest_s: The longest.
    """

    count: int
    p50_s: float | None
    p99_s: float | None
    greatest_s: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a phase.

    Attributes:
        phase: What was sent.
        requests: All that were sent.
        not_sent: Requests that the load generator could not send on time, for want of connections.
        answers: By status, those of `STATUSES` that came.
    """

    phase: Phase
    requests: int
    not_sent: int
    answers: dict[int, Answers]

    def count(self, status: int) -> int:
        """Return how many answers had a status."""
        return self.answers[status].count if status in self.answers else 0

    @property
    def accepted_rate(self) -> float:
        """Requests answered with 200, a second."""
        return self.count(OK) / self.phase.seconds

    @property
    def others(self) -> int:
        """Requests answered with neither 200 nor 429, or not at all."""
        return self.requests - self.count(OK) - self.count(TOO_MANY)


class OpenLoad:
    """k6 at work."""

    def __init__(self, server: Server, bodies: Bodies, phases: Sequence[Phase]) -> None:
        """Start it, on the load generators' core."""
        self._phases = phases
        variables = {
            "URL": server.url,
            "MEDIA_TYPE": bodies.media_type,
            "FILES": " ".join(map(str, bodies.files)),
            "SCENARIOS": json.dumps({phase.name: _scenario(phase) for phase in phases}),
        }
        command = ["taskset", "--cpu-list", str(LOAD_CORE), COMMANDS / "k6", "run", "--quiet", "--no-usage-report"]
        self._process = subprocess.Popen(
            [*command, "--address", "", _SCRIPT], env=os.environ | variables, stdout=subprocess.PIPE, text=True
        )

    def results(self) -> dict[str, Outcome]:
        """Wait for its end and return what came of each phase.

        Raises:
            SystemExit: it did not go well.
        """
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise SystemExit(f"expected k6 to end with 0, got {self._process.returncode}")
        metrics = json.loads(output)
        return {phase.name: _outcome(phase, metrics) for phase in self._phases}


def _scenario(phase: Phase) -> dict[str, Any]:
    # Whole requests in ten seconds, as k6 takes no fractions.
    return {
        "executor": "constant-arrival-rate",
        "exec": phase.call,
        "rate": max(1, round(10 * phase.rate)),
        "timeUnit": "10s",
        "startTime": f"{phase.start_s:g}s",
        "duration": f"{phase.seconds:g}s",
        "preAllocatedVUs": min(_MOST_USERS, 8 + round(phase.rate / 5)),
        "maxVUs": _MOST_USERS,
        "gracefulStop": "60s",
    }


def _outcome(phase: Phase, metrics: dict[str, Any]) -> Outcome:
    def count(metric: str, tags: str = "") -> int:
        return int(metrics.get(f"{metric}{{scenario:{phase.name}{tags}}}", {"values": {"count": 0}})["values"]["count"])

    answers = {}
    for status in STATUSES:
        tags = f",status:{status}"
        if counted := count("http_reqs", tags):
            times = metrics[f"http_req_duration{{scenario:{phase.name}{tags}}}"]["values"]
            answers[status] = Answers(counted, times["med"] / 1000, times["p(99)"] / 1000, times["max"] / 1000)
    return Outcome(phase, count("http_reqs"), count("dropped_iterations"), answers)
