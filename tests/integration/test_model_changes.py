"""A service whose models change while it is asked: no request fails, all workers change together, memory stays flat."""

from __future__ import annotations

import http.client
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vaegis.service.model_file import DIGEST_PREFIX, MetadataKey, content_digest
from vaegis.service.model_folder import promote

RECORD = b'{"amount": 22.5, "express": false, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}'
HEADERS = {"Content-Type": "application/json"}
DEADLINE_S = 60
SWAPS = 8
WORKERS = 2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")


@pytest.fixture
def variant(golden_model, hostile) -> Callable[[int], bytes]:
    """Make the bytes of the golden model with another digest."""

    def make(number: int) -> bytes:
        return hostile.with_document(
            golden_model.read_bytes(), MetadataKey.PROVENANCE, lambda old: old | {"seed": number}
        )

    return make


@pytest.fixture
def folder(tmp_path, variant) -> Path:
    (tmp_path / "orders").mkdir()
    for number in (1, 2):
        (tmp_path / "orders" / f"{number}.onnx").write_bytes(variant(number))
    put_live(tmp_path, "1")
    return tmp_path


def put_live(folder: Path, version: str) -> str:
    """Promote a version, and return its digest."""
    digest = DIGEST_PREFIX + content_digest((folder / "orders" / f"{version}.onnx").read_bytes())
    promote(folder, "orders", version, digest)
    return digest


def digest_of_answer(served) -> str:
    """Return the digest that scored a record, on a connection of its own: any worker may take it."""
    connection = http.client.HTTPConnection(*served.address, timeout=DEADLINE_S)
    try:
        connection.request("POST", "/score", RECORD, HEADERS)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        return answer.headers["vaegis-model-digest"]
    finally:
        connection.close()


class Load:
    """Clients that ask without a pause, each on a connection that stays open.

    Attributes:
        statuses: How many answers had each status; "failed" for requests without an answer.
        digests: The digest that each client saw last, by client.
    """

    def __init__(self) -> None:
        self.statuses: Counter[int | str] = Counter()
        self.digests: dict[int, str] = {}


@contextmanager
def asked(served, clients: int) -> Iterator[Load]:
    load, ends = Load(), threading.Event()

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection(*served.address, timeout=DEADLINE_S)
        while not ends.wait(0.002):
            try:
                connection.request("POST", "/score", RECORD, HEADERS)
                answer = connection.getresponse()
                answer.read()
                load.statuses[answer.status] += 1
                load.digests[number] = answer.headers["vaegis-model-digest"]
            except OSError:
                load.statuses["failed"] += 1
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        ends.set()
        for thread in threads:
            thread.join(DEADLINE_S)


def serving_workers(served) -> int:
    """Return how many workers serve, which is fewer than are started."""
    connection = http.client.HTTPConnection(*served.address, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/metrics")
        return int(float(re.search(rb"^vaegis_workers (\S+)$", connection.getresponse().read(), re.MULTILINE)[1]))
    finally:
        connection.close()


def replace_worker(served, wait_until) -> None:
    """Kill a worker, and wait until another serves in its place."""
    worker = served.workers()[0]
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in served.workers())

    def is_replaced() -> bool:
        try:
            return serving_workers(served) == WORKERS
        except OSError:  # of the worker that was killed
            return False

    wait_until(is_replaced)


def resident(pids: list[int]) -> list[int]:
    texts = [Path(f"/proc/{pid}/status").read_text(encoding="ascii") for pid in pids]
    return [int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) for text in texts]


def test_no_request_fails_while_versions_change_and_memory_stays_flat(serve, folder, wait_until):
    served = serve("--workers", "2", "--model-poll-s", "0.05", "--log-level", "error", model=folder)
    with asked(served, clients=4) as load:
        wait_until(lambda: len(load.digests) == 4)
        sizes = []
        for swap in range(SWAPS):
            digest = put_live(folder, str(swap % 2 + 1) if swap else "2")
            wait_until(lambda digest=digest: {*load.digests.values()} == {digest})
            if swap in (SWAPS // 2, SWAPS - 1):
                sizes.append(resident(served.workers()))
    assert {*load.statuses} == {200}
    assert max(now / then for then, now in zip(*sizes, strict=True)) < 1.05
    assert served.stop() == 0


def test_a_worker_that_replaces_another_serves_the_version_that_is_live(serve, folder, wait_until):
    served = serve("--workers", "2", "--model-poll-s", "0.05", model=folder)
    digest = put_live(folder, "2")
    wait_until(lambda: {digest_of_answer(served) for _ in range(8)} == {digest})
    replace_worker(served, wait_until)
    assert {digest_of_answer(served) for _ in range(8)} == {digest}


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_loads_a_replaced_file_where_nothing_is_watched(serve, tmp_path, variant, wait_until, workers):
    path, new = tmp_path / "model.onnx", tmp_path / "new"
    path.write_bytes(variant(1))
    served = serve("--no-model-reload", "--workers", str(workers), model=path)
    before = digest_of_answer(served)
    new.write_bytes(variant(2))
    expected = DIGEST_PREFIX + content_digest(new.read_bytes())
    new.replace(path)
    assert digest_of_answer(served) == before
    served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: {digest_of_answer(served) for _ in range(8)} == {expected})
    if workers > 1:  # a later worker gets what the others serve, whatever the file holds by then
        path.write_bytes(b"broken")
        replace_worker(served, wait_until)
        assert {digest_of_answer(served) for _ in range(8)} == {expected}
    assert served.stop() == 0, served.process.stderr.read()


def test_a_switched_volume_of_kubernetes_is_loaded(serve, tmp_path, variant, wait_until):
    for number in (1, 2):
        volume = tmp_path / f"..{number}" / "orders"
        volume.mkdir(parents=True)
        (volume / f"{number}.onnx").write_bytes(variant(number))
        put_live(volume.parent, str(number))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "orders").symlink_to("..data/orders")
    served = serve("--model-poll-s", "0.05", model=tmp_path)
    first = digest_of_answer(served)
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    wait_until(lambda: digest_of_answer(served) != first)
    assert served.stop() == 0
