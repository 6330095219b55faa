"""An app over the golden model, and requests to it without a socket; any app behind the protocol, on a socket."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message

from vaegis.service.artifact import Artifact, load_artifact
from vaegis.service.columns import Columns
from vaegis.service.http.app import ServiceApp, create_app
from vaegis.service.http.observability.logs import LineWriter, configure_logs
from vaegis.service.http.observability.tracing import Tracing
from vaegis.service.http.problems import refusal_of
from vaegis.service.http.server.interface import Callbacks, Limits
from vaegis.service.http.server.server import Server
from vaegis.service.scorer import Scores
from vaegis.service.settings import load_settings
from vaegis.service.workers.serving import limits_of

RECORD = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z", "order_id": "a-1"}
TIMEOUT_S = 60


class Log:
    """A log in memory."""

    def __init__(self, level: str, log_format: str) -> None:
        self.settings = {"log_level": level, "log_format": log_format}
        self._stream = io.StringIO()
        self.writer = configure_logs(level, log_format, self._stream)

    @property
    def text(self) -> str:
        self.writer.close()
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(scope="session")
def artifact(golden_model: Path) -> Artifact:
    return load_artifact(golden_model)


@pytest.fixture(scope="session")
def new_app(artifact: Artifact) -> Callable[..., ServiceApp]:
    """Make an app that is ready, with the given settings, and a log and traces if there are any.

    Where ``score`` is given, it stands before the golden model's scorer, which it may call.
    """

    def make(
        writer: LineWriter | None = None,
        tracing: Tracing | None = None,
        score: Callable[[Columns], Scores] | None = None,
        served: Artifact = artifact,
        **settings: object,
    ) -> ServiceApp:
        if score is not None:
            served = replace(served, scorer=SimpleNamespace(score=score, scored=served.scorer.scored))
        begin_span = None if tracing is None else tracing.begin
        app = create_app(served, load_settings({}, settings), writer=writer, begin_span=begin_span)
        app.readiness.admit(artifact.verify())
        return app

    return make


@pytest.fixture
def new_log() -> Iterator[Callable[..., Log]]:
    """Log to memory for the length of a test."""
    names = ("vaegis", "uvicorn.error", "opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter")
    before = {name: (logging.getLogger(name).handlers, logging.getLogger(name).level) for name in names}
    yield lambda level="info", log_format="json": Log(level, log_format)
    for name, (handlers, level) in before.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = handlers, True
        logger.setLevel(level)


@pytest.fixture
def log(new_log: Callable[..., Log]) -> Log:
    return new_log()


@pytest.fixture(scope="session")
def send() -> Callable[..., httpx.Response]:
    """Send one request to an app and return what it answers."""

    def request(app: ServiceApp, method: str, path: str, **details: Any) -> httpx.Response:
        async def exchange() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            declared = {"content-type": "application/json"}
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=declared) as client:
                return await client.request(method, path, **details)

        return asyncio.run(exchange())

    return request


@pytest.fixture(scope="session")
def post(new_app: Callable[..., ServiceApp], send: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
    """Post to an app's /score, a fresh one where there are settings: a document as JSON, or bytes as they are."""
    default_app = new_app()

    def score(
        body: object, *, query: str = "", headers: dict[str, str] | None = None, **settings: object
    ) -> httpx.Response:
        app = new_app(**settings) if settings else default_app
        headers = {"content-type": "application/json"} if headers is None else headers
        if isinstance(body, bytes):
            return send(app, "POST", f"/score{query}", content=body, headers=headers)
        return send(app, "POST", f"/score{query}", json=body)

    return score


@pytest.fixture
def record() -> dict[str, object]:
    return dict(RECORD)


@pytest.fixture
def record_line() -> bytes:
    """One record as a line of NDJSON."""
    return b'{"amount": 22.5, "express": false, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}\n'


class Client:
    """One POST /score to an app, step by step."""

    def __init__(
        self,
        app: ASGIApp,
        query: bytes = b"",
        content_type: bytes = b"application/x-ndjson",
        encoding: bytes = b"identity",
        key: bytes = b"",
    ) -> None:
        self.parts: asyncio.Queue[Message] = asyncio.Queue()
        self.asked = 0
        self.sent: list[Message] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.changed = asyncio.Event()
        headers = [(b"content-type", content_type), (b"content-encoding", encoding)]
        headers += [(b"authorization", b"Bearer " + key)] if key else []
        scope = {"type": "http", "method": "POST", "path": "/score", "query_string": query, "headers": headers}
        self.exchange = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        self.asked += 1
        self.changed.set()
        return await self.parts.get()

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        self.changed.set()
        await self.reads.wait()

    def part(self, body: bytes, *, more: bool = True) -> None:
        self.parts.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.parts.put_nowait({"type": "http.disconnect"})

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_whole(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", True)

    @property
    def has_ended(self) -> bool:
        """Whether an answer of any kind has come to its end."""
        return bool(self.sent) and not self.sent[-1].get("more_body", "status" in self.sent[-1])

    async def end(self) -> None:
        async with asyncio.timeout(20):
            await self.exchange


@pytest.fixture
def new_client() -> type[Client]:
    """Begin a POST /score to an app, whose client then sends, reads and leaves as told."""
    return Client


class Service:
    """A server in another thread.

    Attributes:
        server: The server.
        cuts: Why clients were cut, so far.
    """

    server: Server

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = self.listening.getsockname()
        self.cuts: list[str] = []
        self._ready = threading.Event()

    def run(self, app: ASGIApp, limits: Limits) -> None:
        callbacks = Callbacks(
            refusal=refusal_of,
            count_cut=self.cuts.append,
            is_probe=lambda path: path == "/livez",
            on_listening=self._ready.set,
        )
        self.server = Server(app, limits, callbacks)
        self.server.run([self.listening])

    def wait(self) -> None:
        assert self._ready.wait(TIMEOUT_S)

    def stop(self) -> None:
        self.server.handle_exit(signal.SIGINT, None)

    def connect(self, **options: int) -> socket.socket:
        """Connect; options are those of a socket, set before."""
        client = socket.socket()
        for name, value in options.items():
            client.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        client.settimeout(TIMEOUT_S)
        client.connect(self.address)
        return client

    def answer(self, *pieces: bytes) -> bytes:
        """Send the pieces and return all that comes until the service closes."""
        with self.connect() as client:
            for piece in pieces:
                client.sendall(piece)
            return everything(client)


def everything(client: socket.socket) -> bytes:
    """Read until the other side closes."""
    return b"".join(iter(lambda: client.recv(65536), b""))


@contextmanager
def _serving(app: ASGIApp, **limits: Any) -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(
        target=service.run, args=(app, replace(limits_of(load_settings({}, {})), shutdown_grace_s=0, **limits))
    )
    thread.start()
    try:
        service.wait()
        yield service
    finally:
        service.stop()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


@pytest.fixture
def serving() -> Iterator[Callable[..., Service]]:
    """Serve an app with the given limits until the end of the test."""
    with ExitStack() as stack:
        yield lambda app, **limits: stack.enter_context(_serving(app, **limits))


@pytest.fixture
def read_all() -> Callable[[socket.socket], bytes]:
    return everything
