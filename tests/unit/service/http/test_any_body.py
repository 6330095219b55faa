"""Any body whatever, in every format: no fault of the service, and an answer that can be read."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import json
import sys
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).parents[3] / "fuzz"
COLUMNS = ("amount", "express", "country", "placed_at", "order_id")
EXAMPLES = 60


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FUZZ / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


decoders = loaded("decoders")
TARGETS = decoders.TARGETS
CORPUS = {target: sorted((decoders.CORPUS / target).iterdir()) for target in TARGETS}


@pytest.fixture(scope="module")
def service():
    posted = decoders.Service()
    yield posted
    posted.close()


names = st.sampled_from(COLUMNS) | st.text(max_size=5)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["2023-11-22T10:00:00Z", "1e400", "12", "DE", 10**400, 2**63, -0.0, 1700647200])
    | st.text(max_size=8)
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
records = st.dictionaries(names, values, max_size=6)
columns = st.dictionaries(names, st.lists(scalars, max_size=4), max_size=6)


def dumped(document: object) -> bytes:
    return json.dumps(document).encode()


json_bodies = (values | records | st.lists(records | scalars, max_size=4) | columns).map(dumped)
ndjson_bodies = st.lists(records.map(dumped) | st.binary(max_size=20), max_size=5).map(b"\n".join)


@st.composite
def csv_bodies(draw):
    cells = scalars.map(str) | st.sampled_from(['"', "\n", "", "NULL", "DE", "12"])
    rows = draw(st.lists(st.lists(cells, max_size=6), max_size=5))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerow(draw(st.lists(names, max_size=6)))
    writer.writerows(rows)
    return text.getvalue().encode(errors="surrogatepass")


ARROW = {
    pa.float64(): st.floats() | st.none(),
    pa.float32(): st.floats(width=32) | st.none(),
    pa.int64(): st.integers(-(2**63), 2**63 - 1) | st.none(),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.int8(): st.integers(-128, 127) | st.none(),
    pa.bool_(): st.booleans() | st.none(),
    pa.string(): st.text(max_size=5) | st.none(),
    pa.large_string(): st.text(max_size=5),
    pa.binary(): st.binary(max_size=5),
    pa.null(): st.none(),
    pa.timestamp("s"): st.integers(-(2**60), 2**60) | st.none(),
    pa.timestamp("ns", "UTC"): st.integers(-(2**63), 2**63 - 1),
    pa.date32(): st.integers(-(2**31), 2**31 - 1),
    pa.decimal128(10, 2): st.decimals(-9999, 9999, places=2) | st.none(),
    pa.dictionary(pa.int8(), pa.string()): st.text(max_size=3) | st.none(),
    pa.list_(pa.float64()): st.lists(st.floats(), max_size=2) | st.none(),
    pa.struct([("x", pa.int8())]): st.fixed_dictionaries({"x": st.integers(0, 9)}) | st.none(),
}


@st.composite
def arrow_bodies(draw):
    rows = draw(st.integers(0, 4))
    used = draw(st.lists(names, max_size=5))
    kinds = [draw(st.sampled_from(list(ARROW))) for _ in used]
    arrays = [pa.array([draw(ARROW[kind]) for _ in range(rows)], kind) for kind in kinds]
    sink = io.BytesIO()
    batch = pa.RecordBatch.from_arrays(arrays, names=used)
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(draw(st.integers(0, 2))):
            writer.write_batch(batch)
    return sink.getvalue()


tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": names | scalars,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | scalars,
        "datatype": st.sampled_from(["FP64", "FP32", "INT64", "UINT8", "BOOL", "BYTES", "FP16"]) | scalars,
        "data": st.lists(scalars, max_size=5) | scalars,
        "parameters": st.dictionaries(st.just("binary_data_size"), scalars) | scalars,
    },
)
v2_bodies = st.fixed_dictionaries(
    {"inputs": st.lists(tensors | scalars, max_size=4) | scalars},
    optional={"id": scalars, "outputs": st.lists(tensors | scalars, max_size=2) | scalars, "parameters": values},
).map(dumped)
generate_bodies = st.dictionaries(
    st.sampled_from(["count", "seed", "temperature", "x"]), st.integers(-1, 20) | scalars, max_size=3
).map(dumped)


@st.composite
def damaged(draw, target):
    """Take a body of the corpus, and replace some of it."""
    body = draw(st.sampled_from(CORPUS[target])).read_bytes()
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted((draw(st.integers(0, len(body))), draw(st.integers(0, len(body)))))
        body = body[:start] + draw(st.binary(max_size=8)) + body[min(end, start + 8) :]
    return body


def zstd(body: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(body, asbytes=True))


MADE = {
    "json": json_bodies,
    "ndjson": ndjson_bodies,
    "csv": csv_bodies(),
    "arrow": arrow_bodies(),
    "gzip": json_bodies.map(gzip.compress),
    "zstd": json_bodies.map(zstd),
    "v2": v2_bodies,
    "v2-binary": st.tuples(v2_bodies, st.binary(max_size=40)).map(b"\n".join),
    "generate": generate_bodies,
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_body_that_was_kept_from_fuzzing_is_answered(service, target):
    assert CORPUS[target]
    for file in CORPUS[target]:
        service.check(TARGETS[target], file.read_bytes())


@pytest.mark.hypothesis
@pytest.mark.parametrize("target", TARGETS)
def test_a_body_of_any_values_is_answered(service, target):
    @given(body=MADE[target])
    @settings(max_examples=EXAMPLES)
    def check(body):
        service.check(TARGETS[target], body)

    check()


@pytest.mark.hypothesis
@pytest.mark.parametrize("target", TARGETS)
def test_a_damaged_body_is_answered(service, target):
    @given(body=damaged(target) | st.binary())
    @settings(max_examples=EXAMPLES)
    def check(body):
        service.check(TARGETS[target], body)

    check()


def test_the_check_sees_a_fault(service, monkeypatch):
    monkeypatch.setattr(decoders, "verdicts", id)  # differs from answer to answer
    with pytest.raises(decoders.BrokenPromiseError, match="in parts"):
        service.check(TARGETS["json"], b"[]")
