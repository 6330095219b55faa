"""Writes what fuzzing starts from: sound bodies in every format, fields of graphs, and some known ways to be wrong.

python tests/fuzz/seeds.py
"""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

sys.path.insert(0, str(Path(__file__).parents[1] / "attacks"))

import hostile_models
import pyarrow as pa
from decoders import CORPUS, MODEL

from vaegis.service.artifact import load_artifact

_ARROW: Final = pa.schema(
    [
        ("amount", pa.float64()),
        ("express", pa.bool_()),
        ("country", pa.dictionary(pa.int8(), pa.string())),
        ("placed_at", pa.timestamp("ms", "UTC")),
        ("order_id", pa.string()),
    ]
)
ORDER: Final = {
    "amount": 22.5,
    "express": False,
    "country": "DE",
    "placed_at": "2023-11-22T10:00:00Z",
    "order_id": "a-1",
}
ODD: Final = {"amount": -1e9, "express": None, "country": "\u00fc\U0001f600", "placed_at": 1700647200, "order_id": None}


def main() -> int:
    """Write them; those that are there stay."""
    orders = [ORDER, ODD, ORDER | {"amount": 0, "express": True}]
    columns = {name: [order[name] for order in orders] for name in ORDER}
    golden = list(load_artifact(MODEL).contract.golden.records)
    faults = [b"", b"{}", b"[]", b"[1]", b'{"amount":1,"amount":2}', b'{"amount":1e999}', b'"\xff"']
    faults += [b'[{"amount":"4,5"},{"x":[[]]}]', b'{"amount":NaN}', b'{"placed_at":"2023-02-30"}']
    plain = [dumped(ORDER), dumped(orders), dumped(golden[:4]), dumped(columns)]
    text = csv_of(orders)
    tensors = [tensor(name, values) for name, values in columns.items() if name != "order_id"]
    v2 = dumped({"id": "1", "inputs": tensors, "outputs": [{"name": "score"}]})
    seeds = {
        "json": [*plain, *faults, json.dumps(orders, indent=1).encode()],
        "ndjson": [b"".join(dumped(order) + b"\n" for order in orders), b"\n\n" + plain[0], *faults],
        "csv": [text, text.replace(b"\n", b"\r\n"), b'amount,country\n1,"a""\nb"\n', b"amount\n\n", b"amount;x\n1;2\n"],
        "arrow": [*arrow_bodies(orders)],
        "gzip": [gzip.compress(plain[1], mtime=0), gzip.compress(b" " * 100_000, mtime=0)],
        "zstd": [zstd(plain[1]), zstd(b" " * 100_000)],
        "v2": [v2, dumped({"inputs": []}), dumped({"inputs": tensors[:1]})],
        "v2-binary": [binary_of()],
        "model": [*graph_fields()],
        "generate": [b'{"count":2,"seed":1}', b'{"count":1,"temperature":0.5}', b'{"count":-1}'],
    }
    for target, bodies in seeds.items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for body in bodies:
            (CORPUS / target / sha256(body).hexdigest()[:16]).write_bytes(body)
    return 0


def dumped(document: object) -> bytes:
    """Return JSON without blanks."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def csv_of(orders: list[dict[str, object]]) -> bytes:
    """Return a header and a line each, nulls as nothing."""
    rows = [list(ORDER), *([order[name] for name in ORDER] for order in orders)]
    return b"".join(",".join("" if cell is None else str(cell) for cell in row).encode() + b"\n" for row in rows)


def arrow_bodies(orders: list[dict[str, object]]) -> Iterator[bytes]:
    """Yield Arrow IPC streams: in several batches, compressed, cut off, and with columns of other types."""
    rows = [order | {"placed_at": 1700647200000} for order in orders]
    table = pa.Table.from_pylist(rows, _ARROW)
    yield stream_of(table)
    yield stream_of(table)[:-20]
    yield stream_of(table, batch_records=1)
    yield stream_of(table.slice(1, 2), compression="zstd")
    yield stream_of(table, compression="lz4")
    yield stream_of(table.slice(0, 0))
    others = {
        "amount": pa.array([1, None, -3], pa.int16()),
        "express": pa.array([1, 0, None], pa.uint8()),
        "country": pa.array(["DE", None, ""], pa.large_string()),
        "placed_at": pa.array([0, None, -1], pa.timestamp("ns")),
        "order_id": pa.array([{"x": 1}, None, {"x": None}], pa.struct([("x", pa.float32())])),
    }
    yield stream_of(pa.table(others))
    others |= {"amount": pa.array(["1.5", "x", None]), "placed_at": pa.array([0, 19000, None], pa.date32())}
    others |= {"country": pa.nulls(3), "order_id": pa.array([[1.0], [], None], pa.list_(pa.float64()))}
    yield stream_of(pa.table(others))


def graph_fields() -> Iterator[bytes]:
    """Yield fields of a graph: sound nodes and initializers, and some that no model may have."""
    constant = hostile_models.tensor("c", [2.0])
    yield constant
    yield constant + hostile_models.node("Exp", ["c"], ["e"]) + hostile_models.node("Mul", ["e", "numbers"], ["m"])
    yield hostile_models.node("Cast", ["numbers"], ["x"], hostile_models.integer("to", 1))
    yield (
        constant
        + hostile_models.tensor("s", [9], hostile_models.INT64)
        + hostile_models.node("Expand", ["c", "s"], ["e"])
    )
    yield hostile_models.node("Loop", ["", "", "numbers"], ["x"], hostile_models.subgraph("body", constant))
    yield hostile_models.varint((5 << 3 | 2) + 2**32) + b"\x00"
    yield MODEL.read_bytes()[: 2**12]


def stream_of(table: pa.Table, *, batch_records: int = 8192, compression: str | None = None) -> bytes:
    """Return a table as an Arrow IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=batch_records)
    return sink.getvalue()


def zstd(body: bytes) -> bytes:
    """Return a compressed body."""
    return bytes(pa.Codec("zstd").compress(body, asbytes=True))


def tensor(name: str, values: list[object]) -> dict[str, object]:
    """Return a column as a tensor of protocol V2."""
    kind = {"amount": "FP64", "express": "BOOL"}.get(name, "BYTES")
    data = [0 if kind != "BYTES" and value is None else value if kind != "BYTES" else str(value) for value in values]
    return {"name": name, "shape": [len(values)], "datatype": kind, "data": data}


def binary_of() -> bytes:
    """Return a request of protocol V2 with its tensors as bytes."""
    amounts = pa.array([22.5, 1.0], pa.float64()).buffers()[1].to_pybytes()[:16]
    countries = b"".join(len(text).to_bytes(4, "little") + text for text in (b"DE", b"FR"))
    inputs = [
        {"name": name, "shape": [2], "datatype": kind, "parameters": {"binary_data_size": len(data)}}
        for name, kind, data in (("amount", "FP64", amounts), ("country", "BYTES", countries))
    ]
    return dumped({"inputs": inputs}) + b"\n" + amounts + countries


if __name__ == "__main__":
    sys.exit(main())
