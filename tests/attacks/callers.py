"""Attacks by callers: web pages without a key, keys that were revoked, and more data than fits into memory."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attack import Attack, Outcome, Target

from vaegis.service.auth.keys import Access, Key, digest_of
from vaegis.service.settings import flag_of, load_settings
from vaegis.service.workers.container import fitted_to_memory

_COMPOSE: Final = Path(__file__).parents[2] / "docker-compose.yml"
_SERVE: Final = (sys.executable, "-c", "import sys; from vaegis.service.cli import main; sys.exit(main())", "serve")
_MIB: Final = 2**20
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_TIMEOUT: Final = 408
_PATIENCE_S: Final = 120
_JSON: Final = {"Content-Type": "application/json"}
_RECORD: Final = '{"amount": 1}'
_TENSOR: Final = '{"inputs": [{"name": "amount", "datatype": "FP64", "shape": [1], "data": [1]}]}'
_BODIES: Final = {"/score": _RECORD, "/generate": '{"count": 2}', "/v2/models/orders/infer": _TENSOR}
_READ: Final = ("/model", "/model/schema", "/openapi.json", "/metrics", "/v2", "/v2/models/orders")
_WORKERS: Final = 2
_SAMPLE_S: Final = 0.01
_BODY_TIMEOUT_S: Final = 4
_MOST_CONTINUE_BYTES: Final = 100


def _status(port: int, path: str, headers: Mapping[str, str], body: str | None = None) -> int:
    """Return the status of an answer; 0 where the connection was cut."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as connection:
        try:
            connection.request("GET" if body is None else "POST", path, body, dict(headers))
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            return 0
        return answer.status


def _from_a_page(target: Target, *pages: Mapping[str, str], also_read: bool) -> Outcome:
    """Send everything that a page could make a browser send, with each set of headers; none may be answered."""
    got = Counter[int]()
    for headers in pages:
        for path, body in _BODIES.items():
            got[_status(target.port, path, headers, body)] += 1
        got.update(_status(target.port, path, headers) for path in _READ if also_read)
    return Outcome(held=not got[_OK], measured=f"{got[_OK]} of {got.total()} requests answered 200")


def _rebinding(target: Target) -> Outcome:
    name = f"attacker.example:{target.port}"
    same = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
    return _from_a_page(target, same | _JSON, {"Host": name} | _JSON, {"Host": ""} | _JSON, also_read=True)


def _cross_site(target: Target) -> Outcome:
    origin = {"Origin": "https://attacker.example"}
    site = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    return _from_a_page(target, origin | _JSON, site | _JSON, origin | site | _JSON, also_read=True)


def _untyped(target: Target) -> Outcome:
    """Send bodies as a browser sends them across sites without asking, and as an old one does without its headers."""
    types = ("text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data")
    return _from_a_page(target, {}, *({"Content-Type": each} for each in types), also_read=False)


def _line(name: str) -> str:
    return Key(name, frozenset([Access.SCORE]), digest_of(name.encode())).line() + "\n"


def _bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"} | _JSON


@contextmanager
def _served(target: Target, *flags: str) -> Iterator[tuple[int, int]]:
    """Serve the model with other flags; yield the port and the process id."""
    process = subprocess.Popen(
        [*_SERVE, str(target.model), "--port", "0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        banner = process.stdout.readline() if process.stdout else ""
        yield int(banner.rpartition(":")[2]), process.pid
    finally:
        process.terminate()
        process.wait()


def _written(file: Path, *names: str) -> None:
    """Replace a file of keys by a rename."""
    new = file.with_suffix(".new")
    new.write_text("".join(map(_line, names)))
    new.chmod(0o600)
    new.rename(file)


def _refused_after_s(port: int, name: str, *, at_most_s: float) -> float | None:
    """Return the seconds until a key is refused; None if it is not in time."""
    begin = time.monotonic()
    while time.monotonic() - begin < at_most_s:
        if _status(port, "/score", _bearer(name), _RECORD) != _OK:
            return time.monotonic() - begin
        time.sleep(0.1)
    return None


def _revoked_unnoticed(target: Target) -> Outcome:
    """Remove a key while the file cannot be read, by a write that keeps its size and time."""
    file = target.folder / "keys.txt"
    _written(file, "old", "kept")
    with _served(target, "--workers", "1", "--keys-file", str(file)) as (port, _):
        before = file.stat()
        spoilt = "x" * (before.st_size - 1) + "\n"
        file.write_text(spoilt)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        _refused_after_s(port, "old", at_most_s=2)  # the service has read the file, and cannot use it
        file.write_text(_line("kept").ljust(before.st_size - 1) + "\n")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        after_s = _refused_after_s(port, "old", at_most_s=10)
        is_kept = _status(port, "/score", _bearer("kept"), _RECORD) == _OK
    told = "still valid after 10 s" if after_s is None else f"refused after {after_s:.1f} s"
    return Outcome(held=after_s is not None and is_kept, measured=f"the revoked key was {told}")


def _revoked_body(target: Target) -> Outcome:
    """Continue a body after its key was removed, until the deadline of bodies ends it."""
    file = target.folder / "keys.txt"
    _written(file, "old", "kept")
    line = _RECORD.encode() + b"\n"
    part = b"%x\r\n%b\r\n" % (len(line), line)
    flags = ("--workers", "1", "--keys-file", str(file), "--body-timeout-s", str(_BODY_TIMEOUT_S))
    with (
        _served(target, *flags) as (port, _),
        closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as connection,
    ):
        connection.putrequest("POST", "/score")
        for name, value in (_bearer("old") | {"Content-Type": "application/x-ndjson"}).items():
            connection.putheader(name, value)
        connection.putheader("Transfer-Encoding", "chunked")
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        begin = time.monotonic()
        is_admitted = b" 100 " in connection.sock.recv(_MOST_CONTINUE_BYTES)
        _written(file, "kept")
        is_revoked = _refused_after_s(port, "old", at_most_s=10) is not None
        while not select.select([connection.sock], [], [], 0.1)[0] and time.monotonic() - begin < _PATIENCE_S:
            connection.send(part)
        answer = connection.getresponse()
    lasted_s = time.monotonic() - begin
    measured = f"the body was answered {answer.status} after {lasted_s:.1f} s, of {_BODY_TIMEOUT_S} s that it may take"
    return Outcome(held=is_admitted and is_revoked and answer.status == _TIMEOUT, measured=measured)


def _unnamed(target: Target) -> Outcome:
    """Ask whether a model is ready, and for everything else that needs a key, without one."""
    file = target.folder / "keys.txt"
    _written(file, "kept")
    with _served(target, "--workers", "1", "--keys-file", str(file)) as (port, _):
        statuses = [_status(port, path, {}) for path in (*_READ, "/v2/models/orders/ready")]
        statuses += [_status(port, path, _JSON, body) for path, body in _BODIES.items()]
    refused = statuses.count(_UNAUTHORIZED)
    return Outcome(held=refused == len(statuses), measured=f"{refused} of {len(statuses)} requests answered 401")


def _at_once(port: int, times: int, path: str, body: str, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    threads = [threading.Thread(target=_status, args=(port, path, headers, body)) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _watched(pids: Sequence[str]) -> Iterator[list[int]]:
    """Yield a list that gets the memory of all processes, again and again; shared pages count once."""
    found: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SAMPLE_S):
            texts = [Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii") for pid in pids]
            found.append(
                sum(int(kib) * 1024 for text in texts for kib in re.findall(r"^Pss:\s+(\d+) kB", text, re.MULTILINE))
            )

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _more_than_memory(target: Target) -> Outcome:
    """Send many large bodies at a time to two workers, with the limits that they have in compose's memory."""
    gibibytes = re.search(
        r"^  vaegis:\n(?:   .*\n|\n)*?    mem_limit: (\d+)g", _COMPOSE.read_text(encoding="utf-8"), re.MULTILINE
    )
    if gibibytes is None:
        return Outcome(held=False, measured="expected a mem_limit in gibibytes for the service in docker-compose.yml")
    limit = int(gibibytes[1]) * 2**30
    with TemporaryDirectory() as folder:
        root = Path(folder)  # with the files in which Linux describes such a control group
        for name, text in {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": str(limit)}.items():
            (root / name).parent.mkdir(parents=True)
            (root / name).write_text(f"{text}\n")
        asked = load_settings({}, {})
        fitted = fitted_to_memory(asked, _WORKERS, root).model_dump()
    flags = [
        part
        for name, value in asked.model_dump().items()
        if fitted[name] != value
        for part in (flag_of(name), str(fitted[name]))
    ]
    quotes = 'amount,country\n1,"' + '""' * (7 * _MIB) + '"'
    wide = json.dumps([{f"c{column}": 1 for column in range(9990)} for _ in range(90)])
    with _served(target, "--workers", str(_WORKERS), *flags) as (port, pid):
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        with _watched([str(pid), *workers]) as resident:
            _at_once(port, 24, "/score", quotes, "text/csv")
            _at_once(port, 8, "/score?on_invalid=report", wide, "application/json")
            _at_once(port, 16, "/score", quotes.partition("\n")[2], "application/x-ndjson")
        peak = max(resident)
        status = _status(port, "/score", _JSON, _RECORD)
    measured = f"{peak // _MIB} MiB resident at most, of {limit // _MIB}; then answered {status}"
    return Outcome(held=peak < limit and status == _OK, measured=measured)


ATTACKS: Final = (
    Attack("a page whose own name leads here (DNS rebinding)", _rebinding),
    Attack("a page of another site, by its headers", _cross_site),
    Attack("bodies that browsers send across sites without asking", _untyped),
    Attack("a key revoked while its file cannot be read", _revoked_unnoticed),
    Attack("a body that continues after its key was revoked", _revoked_body),
    Attack("everything that needs a key, without one", _unnamed),
    Attack("many large bodies at once, two workers in compose's memory", _more_than_memory, quick=False),
)
