"""`vaegis serve` with several workers: one service, whatever happens to one of them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

COMMAND = (sys.executable, "-c", "import sys; from vaegis.service.cli import main; sys.exit(main())", "serve")
RECORD = b'{"amount": 22.5, "express": false, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}'
SCORED = r'vaegis_records_scored_total\{model="orders"\}'

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")


def metric(served, name: str) -> float:
    """Return a metric by its name and labels, as a pattern, of whichever worker answers."""
    text = httpx.get(f"{served.url}/metrics", timeout=60).text
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False


def metrics_files(pid: int) -> set[Path]:
    """Return the files in which a worker counts."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    return {Path(file) for file in re.findall(r" (/\S+/vaegis-metrics-\S+\.db)$", maps, re.MULTILINE)}


def post(connection: http.client.HTTPConnection) -> int:
    connection.request("POST", "/score", RECORD, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_any_worker_answers_for_all(serve, wait_until):
    served = serve("--workers", "3")
    workers = served.workers()
    assert len(workers) == 3
    with ExitStack() as stack:
        connections = [http.client.HTTPConnection(*served.address, timeout=60) for _ in range(30)]
        for connection in connections:
            stack.callback(connection.close)
            assert post(connection) == 200
        assert [metric(served, SCORED) for _ in range(10)] == [30.0] * 10
        assert metric(served, "vaegis_workers") == 3
        assert metric(served, "vaegis_worker_restarts_total") == 0
        wait_until(lambda: metric(served, "vaegis_connections") >= 30)
        # Each has its share of the connections: none is left out, and none has them all.
        sockets = [sockets_of(worker) for worker in workers]
        assert max(sockets) - min(sockets) <= 10
        text = httpx.get(f"{served.url}/metrics").text
        labels = set(re.findall(r'process_resident_memory_bytes{worker="(\w+)"}', text))
        assert labels == {"0", "1", "2", "parent"}
    assert served.stop() == 0
    assert not any(map(is_running, workers))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_localhost_answers_at_each_of_its_addresses(serve, workers):
    served = serve("--workers", workers, "--host", "localhost")
    port = served.address[1]
    addresses = ["127.0.0.1"]
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        addresses.append("::1")
    for address in addresses * 4:
        connection = http.client.HTTPConnection(address, port, timeout=60)
        assert post(connection) == 200
        connection.close()
    assert served.stop() == 0
    for address in addresses:
        with pytest.raises(ConnectionError):
            socket.create_connection((address, port))


def test_a_caller_has_one_rate_over_all_workers(serve):
    served = serve("--workers", "3", "--rate-records-per-s", "0.001")
    statuses = []
    for _ in range(12):
        connection = http.client.HTTPConnection(*served.address, timeout=60)
        statuses.append(post(connection))
        connection.close()
    assert statuses == [200] + [429] * 11


def sockets_of(pid: int) -> int:
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            found += str(link.readlink()).startswith("socket:")
    return found


class Load:
    """Clients that post without a pause, each on a connection that it opens again when it breaks."""

    def __init__(self, address: tuple[str, int], clients: int) -> None:
        self.answered = 0
        self.failed = 0
        self._address = address
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._clients = [self._pool.submit(self._run) for _ in range(clients)]

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        while not self._is_over.is_set():
            try:
                status = post(connection)
            except (OSError, http.client.HTTPException):
                connection.close()
                with self._lock:
                    self.failed += 1
                continue
            assert status == 200
            with self._lock:
                self.answered += 1
        connection.close()

    def stop(self) -> None:
        self._is_over.set()
        for client in self._clients:
            client.result()
        self._pool.shutdown()


def test_kill_9_of_a_worker_under_load_costs_at_most_the_requests_in_it(serve, wait_until):
    served = serve("--workers", "2", "--log-level", "error")  # nobody reads its log
    load = Load(served.address, clients=8)
    seen = []

    def scored() -> float:
        seen.append(metric(served, SCORED))
        return seen[-1]

    wait_until(lambda: scored() > 100)
    (folder,) = {file.parent for file in metrics_files(served.workers()[0])}
    files = sorted(folder.iterdir())
    for restarts in (1, 2):
        victim, other = served.workers()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda restarts=restarts: metric(served, "vaegis_worker_restarts_total") == restarts)
        wait_until(lambda: metric(served, "vaegis_workers") == 2)
        assert is_running(other)
        assert victim not in served.workers()
        answered = load.answered
        wait_until(lambda answered=answered: load.answered > answered + 100)
        assert scored() > 0
    load.stop()
    assert load.failed <= 2 * 8
    assert seen == sorted(seen)
    # What was answered was counted, before a death as after it.
    assert load.answered <= metric(served, SCORED) <= load.answered + load.failed
    assert sorted(folder.iterdir()) == files
    assert served.stop() == 0
    assert not folder.exists()


def test_a_worker_that_hangs_is_replaced(serve, wait_until):
    served = serve("--workers", "2", "--worker-timeout-s", "1")
    hanging, _ = served.workers()
    os.kill(hanging, signal.SIGSTOP)
    wait_until(lambda: not is_running(hanging))
    wait_until(lambda: metric(served, "vaegis_workers") == 2)
    assert served.stop() == 0
    lines = [json.loads(line) for line in served.process.stderr.read().splitlines()]
    assert [line["worker"] for line in lines if line["event"] == "worker hangs"] == [0]


def test_kill_9_of_the_parent_ends_the_workers_once_they_have_answered_and_frees_the_address(serve, wait_until):
    served = serve("--workers", "2")
    workers = served.workers()
    (folder,) = {file.parent for worker in workers for file in metrics_files(worker)}
    head = (
        b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(RECORD)
    )
    with served.connect() as client:
        client.sendall(head + RECORD[:-1])
        wait_until(lambda: metric(served, "vaegis_requests_in_flight") == 1)
        served.process.kill()
        wait_until(lambda: sum(map(is_running, workers)) == 1)
        client.sendall(RECORD[-1:])
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: not any(map(is_running, workers)))
    assert not folder.exists()
    socket.create_server(served.address).close()


def test_sigterm_ends_all_once_they_have_answered(serve, wait_until):
    served = serve("--workers", "2")
    workers = served.workers()
    head = (
        b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(RECORD)
    )
    with served.connect() as client:
        client.sendall(head + RECORD[:-1])
        wait_until(lambda: metric(served, "vaegis_requests_in_flight") == 1)
        served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: sum(map(is_running, workers)) == 1)
        with pytest.raises(OSError, match="refused"):
            served.connect()
        client.sendall(RECORD[-1:])
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert served.process.wait(timeout=60) == 0
    assert not any(map(is_running, workers))


def test_a_worker_that_is_told_to_stop_by_somebody_else_is_replaced(serve, wait_until):
    served = serve("--workers", "2")
    os.kill(served.workers()[0], signal.SIGTERM)
    wait_until(lambda: metric(served, "vaegis_worker_restarts_total") == 1)
    wait_until(lambda: metric(served, "vaegis_workers") == 2)
    assert served.stop(signal.SIGINT) == 0, served.process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_that_have_not_started_yet_hold_nobody_up_who_stops(golden_model, tmp_path, number, wait_until):
    # A signal is lost where code that is being imported takes it for a fault of its own.
    (tmp_path / "onnxruntime.py").write_text(
        "import os, pathlib, signal, threading\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "(pathlib.Path(__file__).parent / f'{os.getpid()}.started').touch()\n"
        "threading.Event().wait(60)\n"
        "os._exit(1)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    process = subprocess.Popen([*COMMAND, str(golden_model), "--port", "0", "--workers", "2"], env=environment)
    try:
        wait_until(lambda: len(list(tmp_path.glob("*.started"))) == 2)
        workers = [int(file.stem) for file in tmp_path.glob("*.started")]
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
        assert not any(map(is_running, workers))
    finally:
        process.kill()


def refused(*arguments: object, **variables: str) -> tuple[int, list[str]]:
    """Return the exit code and the lines that a service writes which does not start."""
    environment = os.environ | variables
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert not done.stdout
    return done.returncode, done.stderr.splitlines()


def test_workers_that_end_at_each_start_end_the_service_with_a_reason(golden_model, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("import os\nos._exit(7)\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    code, lines = refused(golden_model, "--port", "0", "--workers", "2", PYTHONPATH=path)
    assert code == 1
    assert lines[-1].startswith("vaegis: error: no worker could start")
    assert "exit code 7" in lines[-1]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [((), 3, "expected a complete ONNX file"), (("--alpha", "1e-9"), 2, "alpha: expected at least 0.001")],
)
def test_what_no_worker_can_start_with_is_reported_once(golden_model, tmp_path, flags, code, message):
    model = golden_model
    if code == 3:
        model = tmp_path / "model.onnx"
        model.write_bytes(golden_model.read_bytes()[:1000])
    got, lines = refused(model, "--port", "0", "--workers", "2", *flags)
    assert got == code
    errors = [line for line in lines if line.startswith("vaegis: error:")]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_worker_started_later_serves_the_same_model_although_the_file_has_changed(
    serve, golden_model, tmp_path, wait_until
):
    model = tmp_path / "model.onnx"
    model.write_bytes(golden_model.read_bytes())
    served = serve("--workers", "2", model=model)
    model.write_bytes(b"another")
    os.kill(served.workers()[0], signal.SIGKILL)
    wait_until(lambda: metric(served, "vaegis_worker_restarts_total") == 1)
    wait_until(lambda: metric(served, "vaegis_workers") == 2)
    assert served.stop() == 0


def test_the_memory_of_a_worker_does_not_grow_with_requests(serve):
    served = serve("--workers", "2", "--log-level", "error")  # nobody reads its log

    def resident() -> list[int]:
        return [
            int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))[1])
            for pid in served.workers()
        ]

    with ExitStack() as stack:
        connections = [http.client.HTTPConnection(*served.address, timeout=60) for _ in range(8)]
        for connection in connections:
            stack.callback(connection.close)

        def send(rounds: int) -> None:
            for _ in range(rounds):
                for connection in connections:
                    assert post(connection) == 200

        send(100)
        before = resident()
        send(300)
        after = resident()
    assert max(now / then for now, then in zip(after, before, strict=True)) < 1.05
