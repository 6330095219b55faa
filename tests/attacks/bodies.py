"""Attacks by small bodies that expand: by decompression, by references or by repetition."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import os
import re
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from attack import Attack, Outcome, Target

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MIB: Final = 2**20
_TEXT_BYTES: Final = _MIB
_RECORDS: Final = 4096
_BOMB_BYTES: Final = 500 * _MIB
_MOST_GROWTH: Final = 400 * _MIB
"""What a worker may grow by under one attack, at the default limit of some 16 to 64 MiB for a body."""
_MOST_CPU_S: Final = 20.0
_DEADLINE_S: Final = 35.0  # of the service, and a little more
_MOST_SILENCE_S: Final = 2.0
_TIMEOUT_S: Final = 60.0
_GZIP: Final = 31  # wbits of zlib for the gzip format
_ARROW: Final = "application/vnd.apache.arrow.stream"


def _ipc(batch: pa.RecordBatch, **options: object) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _packed(parts: Iterable[bytes], coding: str = "zstd") -> bytes:
    compressor = zstd.ZstdCompressor() if coding == "zstd" else zlib.compressobj(1, wbits=_GZIP)
    return b"".join([*map(compressor.compress, parts), compressor.flush()])


def _dictionary() -> bytes:
    """Return records that all refer to one long text of a dictionary."""
    positions = pa.array(np.zeros(_RECORDS, dtype=np.int8))
    texts = pa.DictionaryArray.from_arrays(positions, pa.array(["x" * _TEXT_BYTES]))
    return _packed([_ipc(pa.record_batch({"country": texts}))])


def _views() -> bytes:
    """Return records whose views all point to one long text."""
    views = np.zeros((_RECORDS, 4), dtype="<i4")
    views[:, 0], views[:, 1] = _TEXT_BYTES, int.from_bytes(b"xxxx", "little")
    buffers = [None, pa.py_buffer(views.tobytes()), pa.py_buffer(b"x" * _TEXT_BYTES)]
    texts = pa.Array.from_buffers(pa.string_view(), _RECORDS, buffers)
    return _packed([_ipc(pa.record_batch({"country": texts}))])


def _long_names() -> bytes:
    """Return a schema of many columns within one object of a long name."""
    inner = pa.StructArray.from_arrays([pa.array([1])] * 5000, [str(at) for at in range(5000)])
    return _packed([_ipc(pa.record_batch({"x" * (4 * _MIB): inner}))])


def _compressed_buffers() -> bytes:
    """Return many batches of one record each, whose text is one letter over and over."""
    batch = pa.record_batch({"country": ["x" * (8 * _MIB)]})
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        for _ in range(64):
            writer.write_batch(batch)
    return sink.getvalue()


def _small_batches() -> bytes:
    """Return 200,000 batches of one record each."""
    batch = pa.record_batch({"amount": [1.0]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(200_000):
            writer.write_batch(batch)
    return _packed([sink.getvalue()])


def _batches_of_one_text() -> bytes:
    """Return 40 batches of one record each, which refer to one long text."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0], type=pa.int8()), pa.array(["x" * (8 * _MIB)]))
    batch = pa.record_batch({"country": texts})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(40):
            writer.write_batch(batch)
    return _packed([sink.getvalue()])


def _repeated(start: bytes, piece: bytes) -> Iterator[bytes]:
    yield start
    for _ in range(_BOMB_BYTES // _MIB):
        yield piece * (_MIB // len(piece))


def _same_output() -> bytes:
    """Return a request of protocol V2 that asks for one output many times."""
    values = [1.0] * 5000
    tensor = {"name": "amount", "datatype": "FP64", "shape": [len(values)], "data": values}
    outputs = [{"name": "contributions"}] * 100_000
    return gzip.compress(json.dumps({"inputs": [tensor], "outputs": outputs}).encode())


def _dates() -> bytes:
    """Return records with dates, at the last of which a parser of whole columns may fail."""
    dates = ["2024-02-29T00:00:00"] * 999 + ["0000-00-00T00:00:00"]
    return json.dumps([{"amount": 1.0, "placed_at": date} for date in dates]).encode()


_BODIES: Final[dict[str, tuple[str, str, str, Callable[[], bytes]]]] = {
    "Arrow: 4,096 references to 1 MiB of text": ("/score", _ARROW, "zstd", _dictionary),
    "Arrow: 4,096 views of 1 MiB of text": ("/score", _ARROW, "zstd", _views),
    "Arrow: 5,000 names that begin with 4 MiB": ("/score", _ARROW, "zstd", _long_names),
    "Arrow: buffers that unpack to 512 MiB": ("/score", _ARROW, "identity", _compressed_buffers),
    "Arrow: 200,000 batches of one record in zstd": ("/score?explain=none", _ARROW, "zstd", _small_batches),
    "Arrow: 40 batches that refer to 8 MiB of text": ("/score", _ARROW, "zstd", _batches_of_one_text),
    "CSV: 500 MB of blank lines in zstd": (
        "/score",
        "text/csv",
        "zstd",
        lambda: _packed(_repeated(b"amount\n", b"\n")),
    ),
    "CSV: blank lines between quotes in zstd": (
        "/score",
        "text/csv",
        "zstd",
        lambda: _packed(_repeated(b"amount,country\n", b'1,"x"\n' + b"\n" * (2**18 - 6))),
    ),
    "CSV: 500 MB of one header in gzip": (
        "/score",
        "text/csv",
        "gzip",
        lambda: _packed(_repeated(b"", b"a"), "gzip"),
    ),
    "NDJSON: 500 MB of blank lines in gzip": (
        "/score",
        "application/x-ndjson",
        "gzip",
        lambda: _packed(_repeated(b"", b"\n"), "gzip"),
    ),
    "JSON: 1,000 records, one with a date that the calendar lacks": ("/score", "application/json", "identity", _dates),
    "NDJSON: 700,000 empty members of gzip": (
        "/score",
        "application/x-ndjson",
        "gzip",
        lambda: gzip.compress(b"") * 700_000,
    ),
    "CSV: 30 million rows of one space in zstd": (
        "/score",
        "text/csv",
        "zstd",
        lambda: _packed([b"amount,country\n", b" \n" * (30 * _MIB)]),
    ),
    "CSV: 20 million rows of a null in zstd": (
        "/score?explain=none",
        "text/csv",
        "zstd",
        lambda: _packed([b"amount\n", b"NA\n" * (20 * _MIB)]),
    ),
    "NDJSON: 30 million lines that are no JSON in zstd": (
        "/score",
        "application/x-ndjson",
        "zstd",
        lambda: _packed([b"x\n" * (30 * _MIB)]),
    ),
    "NDJSON: 900,000 empty frames of zstd": (
        "/score",
        "application/x-ndjson",
        "zstd",
        lambda: zstd.compress(b"") * 900_000,
    ),
    "JSON: 500 MB of spaces in zstd": ("/score", "application/json", "zstd", lambda: _packed(_repeated(b"", b" "))),
    "JSON: 700,000 empty members of gzip": (
        "/score",
        "application/json",
        "gzip",
        lambda: gzip.compress(b"") * 700_000,
    ),
    "V2: 500 MB of spaces in gzip": (
        "/v2/models/{model}/infer",
        "application/json",
        "gzip",
        lambda: _packed(_repeated(b"", b" "), "gzip"),
    ),
    "V2: one output asked for 100,000 times": ("/v2/models/{model}/infer", "application/json", "gzip", _same_output),
}
_SCORED: Final = (
    "Arrow: 200,000 batches of one record in zstd",
    "CSV: 20 million rows of a null in zstd",
)
"""Records like others, so that the caller's rate and the deadline of a request are what bounds them."""
_LONG: Final = (*_SCORED, "NDJSON: 700,000 empty members of gzip", "JSON: 700,000 empty members of gzip")


def _processes(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(process for child in children for process in _processes(int(child)))]


def _cpu_s(pid: int) -> float:
    """Return the processor time of a server and its workers."""
    ticks = 0
    for process in _processes(pid):
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _memory_bytes(pid: int, field: str) -> int:
    """Return what a server and its workers hold (``VmRSS``), or held at most (``VmHWM``)."""
    statuses = [Path(f"/proc/{process}/status").read_text(encoding="ascii") for process in _processes(pid)]
    return 1024 * sum(int(found[1]) for status in statuses if (found := re.search(rf"{field}:\s+(\d+)", status)))


@contextmanager
def _probed(target: Target) -> Iterator[list[float]]:
    """Ask for /livez repeatedly meanwhile; yield the list of the seconds that each answer took."""
    took: list[float] = []
    ended = threading.Event()

    def probe() -> None:
        while not ended.wait(0.02):
            began = time.perf_counter()
            connection = http.client.HTTPConnection(*_address(target), timeout=_TIMEOUT_S)
            try:
                connection.request("GET", "/livez")
                connection.getresponse().read()
            finally:
                connection.close()
                took.append(time.perf_counter() - began)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    try:
        yield took
    finally:
        ended.set()
        thread.join(_TIMEOUT_S)


def _address(target: Target) -> tuple[str, int]:
    return target.url.partition("://")[2].rpartition(":")[0], target.port


def _path(target: Target, path: str) -> str:
    if "{model}" not in path:
        return path
    connection = http.client.HTTPConnection(*_address(target), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/model")
        return path.format(model=json.loads(connection.getresponse().read())["model"])
    finally:
        connection.close()


def _posted(target: Target, path: str, headers: dict[str, str], body: bytes) -> str:
    connection = http.client.HTTPConnection(*_address(target), timeout=_TIMEOUT_S)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        size = 0
        while part := answer.read(_MIB):
            size += len(part)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    else:
        return f"{answer.status} with {size} bytes"
    finally:
        connection.close()


def _settled_cpu_s(pid: int, most_s: float) -> float:
    """Return the processor time once the server is at rest, or has used ``most_s`` more."""
    began = last = _cpu_s(pid)
    while last - began < most_s:
        time.sleep(0.5)
        now = _cpu_s(pid)
        if now - last < 0.1:
            return now
        last = now
    return last


def _attack(name: str) -> Callable[[Target], Outcome]:
    path, media_type, encoding, made = _BODIES[name]
    most_cpu_s = _DEADLINE_S if name in _SCORED else _MOST_CPU_S

    def run(target: Target) -> Outcome:
        body = made()
        headers = {"Content-Type": media_type, "Content-Encoding": encoding}
        where = _path(target, path)
        before_s, before = _cpu_s(target.pid), _memory_bytes(target.pid, "VmRSS")
        with _probed(target) as took:
            answered = _posted(target, where, headers, body)
            cpu_s = _settled_cpu_s(target.pid, most_cpu_s) - before_s
        growth = max(0, _memory_bytes(target.pid, "VmHWM") - before)
        measured = (
            f"{len(body)} bytes: {answered}; {cpu_s:.1f} s of processor time, {growth // _MIB} MiB more at the peak, "
            f"/livez after at most {max(took, default=0.0):.2f} s"
        )
        held = cpu_s < most_cpu_s and growth < _MOST_GROWTH and max(took, default=0.0) < _MOST_SILENCE_S
        return Outcome(held and (answered[0] != "5" or (name in _SCORED and answered.startswith("504"))), measured)

    return run


def _leave(target: Target) -> Outcome:
    """Post a bomb, leave at once, and measure how long the server continues."""
    body = _packed(_repeated(b"amount\n", b"\n"))
    before_s = _cpu_s(target.pid)
    connection = http.client.HTTPConnection(*_address(target), timeout=_TIMEOUT_S)
    connection.request("POST", "/score", body, {"Content-Type": "text/csv", "Content-Encoding": "zstd"})
    connection.close()
    cpu_s = _settled_cpu_s(target.pid, _MOST_CPU_S) - before_s
    return Outcome(cpu_s < _MOST_CPU_S / 4, f"{len(body)} bytes, then gone: {cpu_s:.1f} s of processor time")


ATTACKS: Final = (
    *(Attack(name, _attack(name), quick=name not in _LONG) for name in _BODIES),
    Attack("CSV: blank lines from a client that leaves", _leave),
)
