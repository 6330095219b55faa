"""One request to a server, and whether it answers every record of it."""

from __future__ import annotations

import json
import time
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.serving.bodies import Bodies, written_bodies
from benchmarks.serving.closed_loop import TIMEOUT_S
from benchmarks.serving.servers import Server

_TOLERANCE: Final = 1e-3  # of a score: float32 rounding, which varies with the size of a batch


def refusal(server: Server, form: str) -> str | None:
    """Return why a format is refused, None where one record in it is answered."""
    try:
        _answered(server, written_bodies(form, 1))
    except HTTPError as error:
        return f"{error.code} {error.reason}"
    return None


def require_all_answered(server: Server, bodies: Bodies) -> None:
    """Pass if the answer holds one verdict for each record.

    Raises:
        SystemExit: it does not.
    """
    media_type, answer = _answered(server, bodies)
    count = _COUNTS[media_type](answer)
    if count != bodies.records:
        raise SystemExit(f"{server.name}, {bodies.name}: expected {bodies.records} verdicts, got {count}")


def wait_until_answered(server: Server, bodies: Bodies) -> None:
    """Pass once a server that may still load its model answers.

    Raises:
        SystemExit: it did not, in a minute.
    """
    ends = time.monotonic() + TIMEOUT_S
    while True:
        try:
            _answered(server, bodies)
        except OSError as error:
            if time.monotonic() > ends:
                raise SystemExit(f"{server.name}: expected an answer, got {error}") from error
            time.sleep(0.2)
        else:
            return


def require_same_scores(some: tuple[Server, Bodies], other: tuple[Server, Bodies]) -> None:
    """Pass if two servers give the same records the same scores, each in the body that it takes.

    Raises:
        SystemExit: they do not.
    """
    one, two = (_scores(json.loads(_answered(*asked)[1])) for asked in (some, other))
    if one.shape != two.shape or not np.allclose(one, two, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise SystemExit(f"{some[1].name}: expected the same scores of {some[0].name} and {other[0].name}")


def _answered(server: Server, bodies: Bodies) -> tuple[str, bytes]:
    headers = {"Content-Type": bodies.media_type, "Accept": bodies.media_type}
    request = Request(server.target(bodies.records), bodies.files[0].read_bytes(), headers)
    with urlopen(request, timeout=TIMEOUT_S) as answer:
        return answer.headers.get_content_type(), answer.read()


def _scores(document: dict[str, object]) -> NDArray[np.float64]:
    """Return the scores in an answer of any of the servers."""
    match document:
        case {"results": list(results)}:
            return np.array([each["score"] for each in results])
        case {"score": scores}:
            return np.atleast_1d(np.array(scores))
        case {"outputs": [{"name": "score", "data": scores}, *_]}:
            return np.array(scores)
    raise SystemExit(f"expected scores, got {sorted(document)}")


_COUNTS: Final = {
    "application/json": lambda answer: len(_scores(json.loads(answer))),
    "application/x-ndjson": lambda answer: len(answer.splitlines()),
    "text/csv": lambda answer: len(answer.splitlines()) - 1,
    "application/vnd.apache.arrow.stream": lambda answer: pa.ipc.open_stream(answer).read_all().num_rows,
}
