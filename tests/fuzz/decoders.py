"""What must hold of any body whatever in every format: no fault of the service, and an answer that can be read.

A body is posted to the app itself, without a socket, once whole and once in parts as a network might bring them. What
is sound in JSON is posted once more with blanks around its marks, and has to get the same results.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import pyarrow as pa

from vaegis.service.artifact import load_artifact
from vaegis.service.http.app import create_app
from vaegis.service.settings import load_settings

MODEL: Final = Path(__file__).parent.parent / "golden" / "orders-v2.onnx"
CORPUS: Final = Path(__file__).parent / "corpus"

_ARROW: Final = "application/vnd.apache.arrow.stream"
_PROBLEM: Final = "application/problem+json"
# So small that fuzzing meets them.
_LIMITS: Final = {"max_body_bytes": 2**16, "max_records": 50, "max_depth": 8, "max_values": 2000, "max_faults": 5}
_QUERIES: Final = (b"", b"explain=all", b"on_invalid=report", b"on_invalid=reject&explain=none", b"alpha=0.9")
OK: Final = 200
_SERVER_ERROR: Final = 500


class BrokenPromiseError(Exception):
    """Something that must hold of every body, and does not of this one."""


@dataclass(frozen=True, slots=True)
class Target:
    """How bodies are declared.

    Attributes:
        media_type: Their Content-Type, and what is asked for.
        encoding: Their Content-Encoding.
        path: Where they go; {model} stands for the model's name.
        has_head: Whether a line of JSON comes first whose length is told, as in the binary extension of protocol V2.
    """

    media_type: str = "application/json"
    encoding: str | None = None
    path: str = "/score"
    has_head: bool = False


TARGETS: Final = {
    "json": Target(),
    "ndjson": Target("application/x-ndjson"),
    "csv": Target("text/csv"),
    "arrow": Target(_ARROW),
    "gzip": Target(encoding="gzip"),
    "zstd": Target(encoding="zstd"),
    "v2": Target(path="/v2/models/{model}/infer"),
    "v2-binary": Target("application/octet-stream", path="/v2/models/{model}/infer", has_head=True),
    "generate": Target(path="/generate"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    media_type: str
    body: bytes


class Service:
    """The service over the golden model, with small limits."""

    def __init__(self) -> None:
        """Load the model."""
        artifact = load_artifact(MODEL)
        self._app = create_app(artifact, load_settings({}, _LIMITS))
        self._app.readiness.admit(artifact.verify())
        self._model = artifact.contract.provenance.model_name
        self._runner = asyncio.Runner()
        self._log = io.StringIO()
        self._handler = logging.StreamHandler(self._log)
        self._handler.setLevel(logging.ERROR)
        logging.getLogger("vaegis").addHandler(self._handler)

    def close(self) -> None:
        """Let go of the event loop and of the log."""
        self._runner.close()
        logging.getLogger("vaegis").removeHandler(self._handler)

    def check(self, target: Target, body: bytes) -> Answer:
        """Post a body, whole and in parts, and return the answer.

        Raises:
            BrokenPromiseError: the service is at fault, an answer cannot be read, or parts or blanks change it.
        """
        self._log.seek(0)
        self._log.truncate()
        whole = self._posted(target, body, [body])
        if whole.status >= _SERVER_ERROR:
            raise BrokenPromiseError(f"{whole.status}: {whole.body.decode()}\n{self._log.getvalue()}")
        count = verdicts(whole)
        parts = self._posted(target, body, parts_of(body))
        if (parts.status, parts.media_type, verdicts(parts)) != (whole.status, whole.media_type, count):
            raise BrokenPromiseError(f"whole: {whole}\nin parts: {parts}\n{self._log.getvalue()}")
        if target == TARGETS["json"] and whole.status == OK and (other := with_blanks(body)):
            blank = self._posted(target, other, [other], query_of=body)
            if blank.status != OK or json.loads(blank.body)["results"] != json.loads(whole.body)["results"]:
                raise BrokenPromiseError(f"plain: {whole}\nwith blanks: {blank}\n{self._log.getvalue()}")
        return whole

    def _posted(self, target: Target, body: bytes, parts: list[bytes], *, query_of: bytes | None = None) -> Answer:
        headers = [(b"content-type", target.media_type.encode()), (b"accept", target.media_type.encode())]
        if target.encoding:
            headers = [(b"content-type", b"application/json"), (b"content-encoding", target.encoding.encode())]
        if target.has_head:
            headers.append((b"inference-header-content-length", b"%d" % (body.find(b"\n") + 1)))
        path = target.path.format(model=self._model)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": _query(body if query_of is None else query_of) if path == "/score" else b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        return self._runner.run(_exchange(self._app, scope, parts))


async def _exchange(app: Any, scope: dict[str, object], parts: list[bytes]) -> Answer:
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False
    arriving = iter(messages)
    answered = asyncio.Event()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0)
        for message in arriving:
            return message
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if _is_whole(sent):
            answered.set()  # and so the client goes

    await app(scope, receive, send)
    if not sent or sent[-1].get("more_body", False) or not _is_whole(sent):
        raise BrokenPromiseError(f"expected a whole answer, got {sent}")
    headers = dict(sent[0]["headers"])
    media_type = headers.get(b"content-type", b"").decode().partition(";")[0]
    return Answer(sent[0]["status"], media_type, b"".join(message.get("body", b"") for message in sent[1:]))


def _is_whole(sent: list[dict[str, Any]]) -> bool:
    length = dict(sent[0]["headers"]).get(b"content-length")
    if length is None:
        return sent[-1]["type"] == "http.response.body" and not sent[-1].get("more_body", False)
    return sum(len(message.get("body", b"")) for message in sent) == int(length)


def with_blanks(body: bytes) -> bytes | None:
    """Return a sound body of JSON with other blanks; None where it has a number that no double holds."""
    document = json.loads(body)
    try:
        return json.dumps(document, indent=1, separators=(" ,", " : "), allow_nan=False).encode()
    except ValueError:
        return None


def _query(body: bytes) -> bytes:
    return _QUERIES[crc32(body) % len(_QUERIES)]


def parts_of(body: bytes) -> list[bytes]:
    """Return a body in three parts, cut where its checksum says; some may be empty."""
    sum_ = crc32(body)
    first, last = sorted((sum_ % (len(body) + 1), (sum_ >> 16) % (len(body) + 1)))
    return [body[:first], body[first:last], body[last:]]


def verdicts(answer: Answer) -> int:
    """Return how many records an answer is about, 0 for a problem.

    Raises:
        BrokenPromiseError: it is not what its Content-Type says.
    """
    try:
        return _READERS[answer.media_type](answer)
    except (KeyError, TypeError, ValueError, csv.Error, pa.ArrowInvalid) as error:
        raise BrokenPromiseError(f"expected an answer that can be read, got {answer}") from error


def _json(answer: Answer) -> int:
    document = json.loads(answer.body)
    for key in ("results", "records", "outputs"):
        if key in document:
            return len(document[key])
    if answer.status == OK or "error" not in document:
        raise ValueError(document)
    return 0


def _problem(answer: Answer) -> int:
    document = json.loads(answer.body)
    if document["status"] != answer.status or not isinstance(document["errors"], list):
        raise ValueError(document)
    return 0


def _csv(answer: Answer) -> int:
    header, *rows = csv.reader(io.StringIO(answer.body.decode(), newline=""), strict=True)
    if any(len(row) != len(header) for row in rows):
        raise ValueError("expected rows as long as the header")
    return len(rows)


_READERS: Final = {
    "application/json": _json,
    _PROBLEM: _problem,
    "application/x-ndjson": lambda answer: sum(isinstance(json.loads(line), dict) for line in answer.body.splitlines()),
    "text/csv": _csv,
    _ARROW: lambda answer: pa.ipc.open_stream(answer.body).read_all().num_rows,
    "application/octet-stream": lambda answer: len(answer.body) and 1,
}
