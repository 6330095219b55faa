"""`vaegis serve` beside what people would take instead: MLServer, BentoML and LitServe, over the same exported model.

Each serves the light model with one worker on one core, as its own quick start says; the load of 16 connections runs
on the other. 1, 100 and 1,000 records a request, in turn, round after round. Peers do less: they answer score and flag
without p-values, reasons, limits or checks of records. Writes serving-peers.json and .md.

    python -m benchmarks.serving.peers --rounds 5 --seconds 2
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.conditions import RESULTS
from benchmarks.quality.report import table
from benchmarks.serving.asked import require_same_scores, wait_until_answered
from benchmarks.serving.bodies import FORMATS, JSON, Bodies, written_bodies
from benchmarks.serving.closed_loop import CONNECTIONS, Slice, loaded
from benchmarks.serving.experiment import FLOOR, JSON_SIZES, PYDANTIC, SERVICE
from benchmarks.serving.models import trained
from benchmarks.serving.peers.servers import PEERS, serving, version
from benchmarks.serving.results import conditions, write
from benchmarks.serving.rounds import Contender, in_rounds, ratios
from benchmarks.serving.servers import WHOLE, Server, service, uvicorn_app

_MODEL: Final = "light"
_APPS: Final = "benchmarks.serving"
_METHOD: Final = (
    f"Closed loop of {CONNECTIONS} connections, model `{_MODEL}`, one worker on one core. Median over the rounds, "
    "least and greatest in brackets. Peers answer score and flag only."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="slices of each server (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a slice (%(default)s)")
    parser.add_argument("--sizes", nargs="*", type=int, default=JSON_SIZES, help="records a request (%(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (%(default)s)")
    parsed = parser.parse_args(arguments)
    found = {}
    with ExitStack() as running:
        servers = started(running, trained(_MODEL))
        for size in parsed.sizes:
            found[size] = in_rounds(contenders(servers, size), rounds=parsed.rounds, seconds=parsed.seconds)
            print(f"{size:,} records a request measured", flush=True)
    versions = {peer.name: version(peer) for peer in PEERS}
    notes = [
        f"{parsed.rounds} rounds of {parsed.seconds:g} s. {_METHOD}",
        ", ".join(f"{name} {number}" for name, number in versions.items()) + ".",
        conditions(),
    ]
    figures = {"rounds": parsed.rounds, "seconds": parsed.seconds, "peers": versions, "slices": found}
    write("serving-peers", f"python -m {_APPS}.peers", figures, page(notes, found), parsed.output)
    return 0


def started(running: ExitStack, model: Path) -> dict[str, tuple[Server, str]]:
    """Return every server, and the format that it takes, by name."""
    app = partial(uvicorn_app, model=model, chunk_records=WHOLE)
    ours = running.enter_context(service(model, name=SERVICE))
    floor = running.enter_context(app(FLOOR, f"{_APPS}.floor:create_app", one_path="/score"))
    pydantic = running.enter_context(app(PYDANTIC, f"{_APPS}.pydantic_way:create_app", one_path="/score/one"))
    servers = {server.name: (server, JSON) for server in (ours, floor, pydantic)}
    for peer in PEERS:
        servers[peer.name] = running.enter_context(serving(peer, model)), peer.name
    return servers


def contenders(servers: Mapping[str, tuple[Server, str]], size: int) -> dict[str, Contender]:
    """Return a load for each server, once all of them give the same scores."""
    bodies = {name: peer_bodies(form, size) for name, (_, form) in servers.items()}
    reference = servers[SERVICE][0], bodies[SERVICE]
    for name, (server, _) in servers.items():
        wait_until_answered(server, bodies[name])
        require_same_scores(reference, (server, bodies[name]))
    return {name: partial(_load, server, bodies[name]) for name, (server, _) in servers.items()}


def peer_bodies(form: str, size: int) -> Bodies:
    """Return bodies of a format, also of a peer's own."""
    own = {peer.name: ("application/json", peer.body) for peer in PEERS}
    return written_bodies(form, size, formats=FORMATS | own)


def page(notes: Sequence[str], found: Mapping[int, Mapping[str, Sequence[Slice]]]) -> str:
    """Return the results as Markdown."""
    header = ["records a request", "server", "requests a second", "vaegis: times as many", "by CPU time", "p99, ms"]
    rows = []
    for size, slices in found.items():
        for name, own in slices.items():
            by_clock, by_cpu = (ratios(slices[SERVICE], own, rate).median for rate in (_rate, _cpu_rate))
            p99_ms = 1000 * median(piece.p99_s or 0.0 for piece in own)
            rows.append([f"{size:,}", name, _shown(own), f"{by_clock:.2f}", f"{by_cpu:.2f}", f"{p99_ms:.1f}"])
    return "\n\n".join(["# Serving beside other model servers", *notes, table(header, rows)]) + "\n"


def _load(server: Server, bodies: Bodies, seconds: float) -> Slice:
    return loaded(server, bodies, seconds=seconds)


def _rate(piece: Slice) -> float:
    return piece.rate


def _cpu_rate(piece: Slice) -> float:
    return piece.cpu_rate


def _shown(slices: Sequence[Slice]) -> str:
    rates = [piece.rate for piece in slices]
    return f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


if __name__ == "__main__":
    sys.exit(main())
