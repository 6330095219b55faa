"""`vaegis serve` as a process: listening, draining, exit codes, and what hostile clients do to it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import pytest

COMMAND = (sys.executable, "-c", "import sys; from vaegis.service.cli import main; sys.exit(main())", "serve")
RECORD = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}
HEAD = "POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GIB = 2**30
ATTEMPTS = 10_000


def refused(*arguments: object, **variables: str) -> tuple[int, str]:
    """Return the exit code and the message of a service that does not start."""
    command = [*COMMAND, *map(str, arguments)]
    environment = os.environ | variables
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert not done.stdout
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@contextmanager
def half_sent(served, body: bytes) -> Iterator[socket.socket]:
    """Send a request but for the last byte of its body, and make sure that the service reads it."""
    head = f"{HEAD}Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(served.address, timeout=60) as connection:
        connection.sendall(head.encode() + body[:-1])
        for _ in range(ATTEMPTS):
            if "\nvaegis_requests_in_flight 1.0" in httpx.get(f"{served.url}/metrics").text:
                break
        else:
            raise AssertionError("expected a request in flight, got none")
        yield connection


def everything(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_it_says_where_it_listens_once_it_does_and_exits_with_0_on_sigterm(serve):
    served = serve()
    assert re.fullmatch(r"vaegis is serving \S+ on http://127\.0\.0\.1:\d+\n", served.banner)
    assert httpx.get(f"{served.url}/readyz").json() == {"state": "ready"}
    answer = httpx.post(f"{served.url}/score", json=[RECORD, RECORD]).json()
    assert len(answer["results"]) == 2
    assert served.stop() == 0


def test_it_listens_on_a_unix_socket(serve, tmp_path):
    path = tmp_path / "vaegis.sock"
    served = serve("--uds", str(path))
    assert served.banner.endswith(f" on unix:{path}\n")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert len(client.post("http://localhost/score", json=[RECORD, RECORD]).json()["results"]) == 2
    assert served.stop() == 0


@pytest.mark.parametrize("pause_s", [0.004, 0.012, 0.02])
def test_it_exits_with_0_on_a_second_sigterm_while_it_ends(serve, pause_s):
    served = serve()
    served.process.send_signal(signal.SIGTERM)
    time.sleep(pause_s)  # when the second one comes is what is tested: no event of the process tells the moment
    assert served.stop() == 0


def test_it_exits_with_0_on_sigint(serve):
    assert serve().stop(signal.SIGINT) == 0


def test_the_log_is_one_json_object_a_line_without_values(serve):
    served = serve()
    httpx.post(f"{served.url}/score", json=RECORD | {"amount": "x4711"})
    served.stop()
    lines = [json.loads(line) for line in served.process.stderr.read().splitlines()]
    assert lines[0]["event"] == "model ready"
    request = next(line for line in lines if line["event"] == "request")
    assert (request["route"], request["status"]) == ("/score", 422)
    assert "4711" not in json.dumps(lines)


def test_a_request_in_flight_is_finished_after_sigterm(serve):
    served = serve()
    body = json.dumps(RECORD).encode()
    with half_sent(served, body) as connection:
        served.process.send_signal(signal.SIGTERM)
        for _ in range(ATTEMPTS):
            try:
                socket.create_connection(served.address, timeout=60).close()
            except OSError:
                break
        else:
            raise AssertionError("expected no more connections to be accepted")
        connection.sendall(body[-1:])
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"results":[' in answer
    assert served.process.wait(timeout=60) == 0


def test_while_draining_it_is_not_ready_and_still_answers_until_told_to_stop_at_once(serve):
    served = serve("--drain-delay-s", "600")
    served.process.send_signal(signal.SIGTERM)
    for _ in range(ATTEMPTS):
        ready = httpx.get(f"{served.url}/readyz")
        if ready.status_code == 503:
            break
    assert "draining" in ready.json()["detail"]
    assert httpx.post(f"{served.url}/score", json=RECORD).status_code == 200
    assert httpx.get(f"{served.url}/livez").status_code == 200
    assert served.stop(signal.SIGINT) == 0


def test_while_draining_each_answer_is_the_last_on_its_connection(serve):
    served = serve("--drain-delay-s", "600")
    with httpx.Client(base_url=served.url) as client:
        assert "connection" not in client.get("/livez").headers
        served.process.send_signal(signal.SIGTERM)
        for _ in range(ATTEMPTS):
            answer = client.get("/livez")
            if "connection" in answer.headers:
                break
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert client.post("/score", json=RECORD).headers["connection"] == "close"
    assert served.stop(signal.SIGINT) == 0


def test_a_request_that_ends_after_the_last_one_was_accepted_is_answered_503(serve):
    served = serve()
    body = json.dumps(RECORD).encode()
    with half_sent(served, body) as in_flight, served.connect() as idle, served.connect() as late:
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        late.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /livez HTTP/1.1\r\n")
        assert late.recv(65536).startswith(b"HTTP/1.1 200 ")
        served.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""  # closed once no more is accepted
        late.sendall(b"Host: localhost\r\n\r\n")
        refused = everything(late).lower()
        assert refused.startswith(b"http/1.1 503 ")
        assert b"retry-after: 5\r\n" in refused
        assert b"connection: close\r\n" in refused
        in_flight.sendall(body[-1:])
        assert everything(in_flight).startswith(b"HTTP/1.1 200 ")
    assert served.process.wait(timeout=60) == 0


def test_a_client_that_never_ends_its_request_holds_the_end_up_for_the_grace_period_only(serve):
    served = serve("--shutdown-grace-s", "1")
    with half_sent(served, json.dumps(RECORD).encode()) as connection:
        assert served.stop() == 0
        with suppress(ConnectionError):
            assert connection.recv(65536) == b""


def test_a_body_of_1_gib_is_refused_early_and_the_service_keeps_serving_in_little_memory(serve):
    served = serve()
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        part = b" " * 2**20
        while sent < GIB:
            sent += len(part)
            yield part

    response = httpx.post(f"{served.url}/score", content=endless(), headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert response.headers["connection"] == "close"
    assert response.json()["type"] == "urn:vaegis:problem:body-too-large"
    assert sent < GIB / 4
    assert httpx.post(f"{served.url}/score", json=RECORD).status_code == 200
    assert served.peak_bytes() < 200 * 10**6


def test_a_body_declared_as_1_gib_is_refused_before_any_of_it_came(serve):
    served = serve()
    with socket.create_connection(served.address, timeout=60) as connection:
        connection.sendall(f"{HEAD}Content-Length: {GIB}\r\n\r\n".encode())
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_what_is_not_http_is_refused_and_the_service_keeps_serving(serve):
    served = serve()
    with socket.create_connection(served.address, timeout=60) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 400 ")
    assert httpx.get(f"{served.url}/readyz").status_code == 200


def test_a_slow_body_is_given_up(serve):
    served = serve("--body-timeout-s", "0.05")
    with socket.create_connection(served.address, timeout=60) as connection:
        connection.sendall(f"{HEAD}Content-Length: 10\r\n\r\n{{".encode())
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_clients_at_the_same_time_each_get_the_results_of_their_own_records(serve):
    served = serve("--scoring-threads", "4")
    amounts = [float(amount) for amount in range(1, 41)]

    def observed(amount: float) -> list[object]:
        records = [RECORD | {"amount": amount + row / 100} for row in range(5)]
        results = httpx.post(f"{served.url}/score?explain=all", json=records, timeout=60).json()["results"]
        return [next(c["observed"] for c in r["contributions"] if c["column"] == "amount") for r in results]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(observed, amounts))
    assert answers == [[pytest.approx(amount + row / 100) for row in range(5)] for amount in amounts]


def damaged(model: bytes) -> dict[str, bytes]:
    middle = len(model) // 2
    return {
        "nothing": b"",
        "text": b"this is no model\n",
        "cut off": model[:middle],
        "altered": model[:middle] + bytes([model[middle] ^ 1]) + model[middle + 1 :],
    }


@pytest.mark.parametrize("kind", ["nothing", "text", "cut off", "altered"])
def test_a_file_that_cannot_be_used_ends_with_3_and_its_name(golden_model, tmp_path, kind):
    file = tmp_path / "model.onnx"
    file.write_bytes(damaged(golden_model.read_bytes())[kind])
    code, message = refused(file, "--port", "0")
    assert code == 3
    assert message.startswith(f"vaegis: error: {file}: {'the digest' if kind == 'altered' else 'expected '}")


def test_a_file_that_does_not_exist_ends_with_3(tmp_path):
    code, message = refused(tmp_path / "none.onnx", "--port", "0")
    assert code == 3
    assert "none.onnx" in message


@pytest.mark.parametrize(
    ("flags", "variables", "message"),
    [
        (("--port", "x"), {}, "--port: expected a whole number"),
        ((), {"VAEGIS_MAX_RECORD": "1"}, "VAEGIS_MAX_RECORD: unknown setting"),
        (("--alpha", "1e-9"), {}, "alpha: expected at least 0.001"),
    ],
)
def test_bad_settings_end_with_2(golden_model, flags, variables, message):
    code, error_text = refused(golden_model, "--port", "0", *flags, **variables)
    assert code == 2
    assert error_text.startswith(f"vaegis: error: {message}")


def test_a_bad_file_of_settings_ends_with_2_and_its_name(golden_model, tmp_path):
    file = tmp_path / "vaegis.toml"
    file.write_text("prot = 8080\n")
    code, error_text = refused(golden_model, "--config", file)
    assert code == 2
    assert error_text.startswith(f"vaegis: error: {file}: prot: unknown setting")
    assert refused(golden_model, VAEGIS_CONFIG=str(file)) == (code, error_text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_for_others_without_keys_ends_with_2_and_both_ways_out(golden_model, host):
    code, error_text = refused(golden_model, "--port", "0", f"--host={host}")
    assert code == 2
    assert error_text.startswith(f"vaegis: error: host: other machines can reach {host}")
    assert "--keys-file FILE (VAEGIS_KEYS_FILE)" in error_text
    assert "--open (VAEGIS_OPEN=true)" in error_text


def test_a_name_is_looked_up_once_and_not_trusted_for_what_it_was_before(golden_model):
    program = (
        "import socket, sys\n"
        "from vaegis.service.cli import main\n"
        "look_up, asked = socket.getaddrinfo, []\n"
        "def changing(host, *rest, **details):\n"
        "    asked.append(host)\n"
        "    return look_up('127.0.0.1' if len(asked) == 1 else '0.0.0.0', *rest, **details)\n"
        "socket.getaddrinfo = changing\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-c", program, "serve", str(golden_model), "--port", "0", "--workers", "1"]
    with subprocess.Popen([*command, "--host", "a.name"], stdout=subprocess.PIPE, text=True) as process:
        banner = process.stdout.readline()
        process.terminate()
    assert " on http://127.0.0.1:" in banner


def test_an_address_for_others_is_open_if_asked_for(serve):
    served = serve("--host", "0.0.0.0", "--open")
    assert httpx.post(f"{served.url}/score", json=RECORD).status_code == 200


def test_an_address_for_others_asks_for_keys_if_there_are_any(serve, tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text(f"tester score sha256:{hashlib.sha256(b'vaegis_1').hexdigest()}")
    file.chmod(0o600)
    served = serve("--host", "0.0.0.0", "--keys-file", str(file))
    assert httpx.post(f"{served.url}/score", json=RECORD).status_code == 401
    bearer = {"authorization": "Bearer vaegis_1"}
    assert httpx.post(f"{served.url}/score", json=RECORD, headers=bearer).status_code == 200
    served.stop()
    error_text = served.process.stderr.read()
    assert '"key":"tester"' in error_text
    assert "vaegis_1" not in error_text


def test_a_body_without_a_key_is_refused_before_it_came(serve, tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text(f"tester score sha256:{'0' * 64}")
    served = serve("--keys-file", str(file))
    with socket.create_connection(served.address, timeout=60) as connection:
        connection.sendall(f"{HEAD}Content-Length: 1000000\r\n\r\n".encode())
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_port_that_is_taken_ends_with_1(golden_model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, message = refused(golden_model, "--port", port)
    assert code == 1
    last = message.splitlines()[-1]
    assert last.startswith(f"vaegis: error: localhost:{port}: cannot listen on this address")
    assert last.endswith("; --port chooses another")


def test_it_listens_on_ipv6_too(serve):
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    served = serve("--host", "::1")
    assert re.fullmatch(r"http://\[::1\]:\d+", served.url)
    assert httpx.get(f"{served.url}/livez").status_code == 200
