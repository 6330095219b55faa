"""What is measured of one model: JSON beside the floor and the pydantic way, streams beside onnxruntime alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.serving import graph
from benchmarks.serving.asked import refusal, require_all_answered, require_same_scores
from benchmarks.serving.bodies import FORMATS, JSON, Bodies, written_bodies
from benchmarks.serving.closed_loop import Slice, loaded
from benchmarks.serving.rounds import Contender, best_of, in_rounds
from benchmarks.serving.servers import WHOLE, Server, constant, service, uvicorn_app

SERVICE: Final = "vaegis serve"
FLOOR: Final = "bare floor"
PYDANTIC: Final = "pydantic way"
CONSTANT: Final = "constant answer"
"""Shows that the load generator could send more than any server takes."""
JSON_SIZES: Final = (1, 100, 1000)
STREAM_RECORDS: Final = 10_000
STREAM_CONNECTIONS: Final = 2
FLOOR_CHUNK: Final = 256
"""Beside the whole batch at once; the better of the two stands."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Contenders over the same records.

    Attributes:
        model: Name of the model.
        bodies: What was sent.
        records: In each body.
        slices: Of each contender, one a round.
        missing: Why a contender was left out, by name.
    """

    model: str
    bodies: str
    records: int
    slices: dict[str, list[Slice]]
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long is measured, and what."""

    rounds: int
    seconds: float
    sizes: Sequence[int]
    streams: bool
    flags: Sequence[str] = ()


def compared(name: str, model: Path, plan: Plan) -> Iterator[Compared]:
    """Yield what was measured of one model, one request size or format after the other."""
    with service(model, *plan.flags, name=SERVICE) as served:
        if plan.sizes:
            with _others(model) as others:
                for size in plan.sizes:
                    yield _json(name, model, plan, size, [served, *others])
        if plan.streams:
            yield _streams(name, model, plan, served)


@contextmanager
def _others(model: Path) -> Iterator[list[Server]]:
    floor = partial(uvicorn_app, app="benchmarks.serving.floor:create_app", model=model, one_path="/score")
    way = partial(uvicorn_app, app="benchmarks.serving.pydantic_way:create_app", model=model, one_path="/score/one")
    with (
        floor(FLOOR, chunk_records=WHOLE) as whole,
        floor(f"{FLOOR}, chunks of {FLOOR_CHUNK}", chunk_records=FLOOR_CHUNK) as chunked,
        way(PYDANTIC, chunk_records=WHOLE) as pydantic,
        constant(CONSTANT) as nothing,
    ):
        yield [whole, chunked, pydantic, nothing]


def _json(name: str, model: Path, plan: Plan, size: int, servers: Sequence[Server]) -> Compared:
    bodies = written_bodies(JSON, size)
    contending = [each for each in servers if size > FLOOR_CHUNK or not each.name.startswith(f"{FLOOR},")]
    for other in contending[1:-1]:
        require_same_scores((contending[0], bodies), (other, bodies))
    contenders: dict[str, Contender] = {graph.NAME: _graph(model, size)}
    contenders |= {each.name: _load(each, bodies) for each in contending}
    slices = in_rounds(contenders, rounds=plan.rounds, seconds=plan.seconds)
    floors = {each: slices[each] for each in slices if each.startswith(FLOOR)}
    best = best_of(floors)
    kept = {each: found for each, found in slices.items() if each not in floors or each == best}
    slower = {each: f"slower than {best}" for each in floors if each != best}
    return Compared(name, bodies.name, size, {FLOOR if each == best else each: kept[each] for each in kept}, slower)


def _streams(name: str, model: Path, plan: Plan, served: Server) -> Compared:
    contenders: dict[str, Contender] = {graph.NAME: _graph(model, STREAM_RECORDS)}
    missing = {}
    for form in FORMATS:
        reason = refusal(served, form)
        if reason is None:
            bodies = written_bodies(form, STREAM_RECORDS)
            require_all_answered(served, bodies)
            contenders[form] = _load(served, bodies, connections=STREAM_CONNECTIONS)
        else:
            missing[form] = reason
    slices = in_rounds(contenders, rounds=plan.rounds, seconds=plan.seconds)
    return Compared(name, f"{STREAM_RECORDS:,} records in every format", STREAM_RECORDS, slices, missing)


def _graph(model: Path, records: int) -> Contender:
    return lambda seconds: graph.graph_slice(model, records, seconds=seconds)


def _load(server: Server, bodies: Bodies, **details: int) -> Contender:
    return lambda seconds: loaded(server, bodies, seconds=seconds, **details)
