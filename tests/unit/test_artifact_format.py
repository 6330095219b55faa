"""docs/artifact-format.md against the code, and a reader written from it against the service."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vaegis.service import contract, protobuf
from vaegis.service.artifact import load_artifact
from vaegis.service.errors import AlphaError
from vaegis.service.generation import DEFAULT_TEMPERATURE
from vaegis.service.model_file import FORMAT_VERSION, MetadataKey, digest_entry
from vaegis.service.pvalues import p_values, threshold
from vaegis.service.records.forms import Forms, patterns_of
from vaegis.service.records.python_records import columns_from_records
from vaegis.service.scorer import OUTPUTS
from vaegis.service.verdicts import Explain

TESTS = Path(__file__).parents[1]
READER = TESTS / "reader.py"
DOCUMENT = (TESTS.parent / "docs" / "artifact-format.md").read_text(encoding="utf-8")
GOLDEN = TESTS / "golden" / "orders-v2.onnx"
MODELS = {
    MetadataKey.SCHEMA: (
        contract.Schema,
        contract.IgnoredColumn,
        contract.NumericColumn,
        contract.BooleanColumn,
        contract.TimestampColumn,
        contract.CategoricalColumn,
        contract.TextColumn,
    ),
    MetadataKey.CALIBRATION: (contract.Calibration,),
    MetadataKey.GOLDEN: (contract.Golden, contract.GoldenScores),
    MetadataKey.PROVENANCE: (contract.Provenance,),
    MetadataKey.GENERATOR: (contract.GeneratorDocument,),
    MetadataKey.EVALUATION: (contract.EvaluationDocument, contract.FaultsFound),
}
OFFLINE = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print(sorted({name.split(".")[0] for name in sys.modules} & {"service", "training", "pydantic", "onnx", "torch"}))
"""


def section(title):
    """Return the part of the document under a heading of the second level."""
    return re.split(r"^## ", DOCUMENT.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def first_cells(text, header):
    """Return the first cells, in code quotes, of all tables whose header begins with ``header``."""
    tables = re.findall(rf"^\| {header} \|.*\n\|[ |-]+\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    return [row.split("`")[1] for table in tables for row in table.splitlines()]


@pytest.fixture(scope="module")
def reader():
    spec = importlib.util.spec_from_file_location("reader", READER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(reader):
    return reader.Model(GOLDEN)


@pytest.fixture(scope="module")
def artifact():
    return load_artifact(GOLDEN)


def verdicts_of_service(artifact, records, alpha):
    columns = columns_from_records(records, artifact.contract.columns)
    verdicts = artifact.judge(columns, alpha=alpha, explain=Explain.NONE)
    fields = ("score", "p_value", "is_anomaly")
    values = zip(*(getattr(verdicts, name).tolist() for name in fields), strict=True)
    return [dict(zip(fields, of_record, strict=True)) for of_record in values]


def is_refused(number: float) -> bool:
    """Return whether a number may be a count of days by Excel, or be 14 digits that are no date."""
    if not 1.9e13 < number < 2.1e13:
        return 25_000 < number < 74_000
    try:
        datetime.strptime(str(int(number)), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return True
    return not float(number).is_integer()


zones = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones).map(datetime.isoformat)  # noqa: DTZ001
epochs = st.one_of(
    st.integers(-(10**10), 10**11 - 1),
    st.floats(-1e10, 9.9e10),
    st.integers(10**11, 10**17),
    st.integers(10**17, 2 * 10**20),
    st.sampled_from([20240318101200, 19991231235959]),
).filter(lambda number: not is_refused(number))
texts = st.text(st.characters(exclude_categories=["Cs"]))
records = st.fixed_dictionaries(
    {"amount": st.none() | st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False)},
    optional={
        "express": st.sampled_from([None, True, False, 0, 1, 0.0, 1.0]),
        "country": st.none() | st.sampled_from(["DE", "FR", "IT", "de", "DE ", "DE\0", ""]) | texts | st.integers(),
        "placed_at": st.none() | instants | epochs,
        "order_id": st.text(),
    },
)


@given(batch=st.lists(records, min_size=1, max_size=20))
def test_the_reader_gives_the_services_verdicts_on_any_valid_records(model, artifact, batch):
    assert model.verdicts(batch, alpha=0.05) == verdicts_of_service(artifact, batch, 0.05)


def test_the_reader_gives_the_services_verdicts_on_the_golden_records(model, artifact):
    golden = list(artifact.contract.golden.records)
    given_verdicts = model.verdicts(golden)
    assert given_verdicts == verdicts_of_service(artifact, golden, artifact.contract.calibration.alpha)
    assert {verdict["is_anomaly"] for verdict in given_verdicts} == {True, False}


CHARACTERS = "abAZ09 .@-_\n\t\x00\x7f\u2003\u0301éÄß字½Ⅷ\U0001f600"
PIECES = st.sampled_from(["ann", "Lee", "1234567", "@example.com", ".", "@", "-" * 70, "A" * 300]) | st.text(CHARACTERS)
RULES = st.tuples(st.sampled_from(["case", "letters", "alphanumeric", "set", "any"]), st.sampled_from([1, 2, 3, 64]))


@given(texts=st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1, max_size=20), rule=RULES)
def test_the_reader_gives_the_services_forms_of_any_text(reader, texts, rule):
    classes, longest_run = rule
    known = patterns_of(["ann.lee@example.com", "Ann 1", texts[0]], classes, longest_run)
    column = contract.TextColumn(
        name="x",
        missing_share=0.0,
        categories=tuple(dict.fromkeys([*known, "other"])),
        shares=(0.0,) * len(dict.fromkeys([*known, "other"])),
        classes=classes,
        longest_run=longest_run,
        lengths=(5,) * 7,
        usual_lengths=(2, 400),
        usual_counts={"a": (0, 20), "A": (0, 310), "9": (0, 8), "@": (0, 1), ".": (0, 9), " ": (0, 5), "-": (0, 99)},
        pairs={"\na": 10, "an": 5, "nn": 9, "n\n": 20, "99": 1, "--": 3, "aa": 4},
        rare_pair=300,
        usual_surprise=290,
    )
    document = json.loads(column.model_dump_json())
    assert Forms(column).of(texts) == [reader.form(document, text) for text in texts]


def test_golden_records_hold_nulls_unseen_categories_and_huge_numbers(artifact):
    golden, schema = artifact.contract.golden.records, artifact.contract.columns
    assert any(record["amount"] is None for record in golden)
    assert any(record["country"] not in (None, *schema.columns[2].categories) for record in golden)
    assert any(isinstance(record["amount"], float) and record["amount"] > 1e299 for record in golden)


scores = st.floats(-2, 10) | st.sampled_from([-1.0, 0.0, 0.5, 1.0])
folds = st.lists(st.lists(scores, min_size=1, max_size=30).map(sorted), min_size=1, max_size=5)


@given(folds=folds, data=st.data())
def test_the_reader_gives_the_services_p_values_with_any_number_of_folds(reader, folds, data):
    rows = data.draw(st.lists(st.lists(scores, min_size=len(folds), max_size=len(folds)), min_size=1, max_size=10))
    of_service = p_values([np.array(fold) for fold in folds], np.array(rows))
    assert [reader.p_value(folds, row) for row in rows] == of_service.tolist()


@given(folds=folds, score=scores, alpha=st.floats(0.001, 0.999))
def test_where_the_members_agree_the_flag_by_threshold_is_the_flag_by_p_value(reader, folds, score, alpha):
    n = sum(map(len, folds))
    assume(alpha >= 1 / (n + 1))
    limit = threshold([np.array(fold) for fold in folds], alpha)
    assert (reader.p_value(folds, [score] * len(folds)) <= alpha) == (score > limit)


def test_reader_and_service_refuse_the_same_alpha(model, artifact):
    n = artifact.contract.calibration.records
    too_small = np.nextafter(1 / (n + 1), 0)
    with pytest.raises(ValueError, match="expected an alpha of at least"):
        model.verdicts([], too_small)
    with pytest.raises(AlphaError):
        threshold(artifact.calibration_folds, too_small)


@given(at=st.integers(0, GOLDEN.stat().st_size - 1), bit=st.integers(0, 7))
def test_the_readers_digest_finds_any_changed_bit(reader, at, bit):
    data = bytearray(GOLDEN.read_bytes())
    data[at] ^= 1 << bit
    with pytest.raises(ValueError, match="expected the digest"):
        reader.checked_digest(bytes(data))


@given(size=st.integers(0, GOLDEN.stat().st_size - 1))
def test_the_readers_digest_finds_a_cut(reader, size):
    with pytest.raises(ValueError, match="expected the digest"):
        reader.checked_digest(GOLDEN.read_bytes()[:size])


def test_reader_and_service_agree_on_the_digest(reader, model, artifact):
    assert model.digest == artifact.digest
    assert len(digest_entry(b"")) == reader.DIGEST_BYTES


def test_the_reader_imports_nothing_but_onnxruntime_numpy_and_the_standard_library():
    imported = set()
    for node in ast.walk(ast.parse(READER.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"onnxruntime", "numpy"}


def test_the_reader_runs_alone_and_loads_none_of_our_code(tmp_path, artifact):
    asked = tmp_path / "records.json"
    asked.write_text(json.dumps([{"amount": 20.5, "country": "DE"}, {"amount": None, "country": "unseen"}]))
    command = [sys.executable, "-I", "-c", OFFLINE, READER, GOLDEN, asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    verdicts, loaded = done.stdout.splitlines()
    assert json.loads(verdicts) == verdicts_of_service(artifact, json.loads(asked.read_text()), 0.01)
    assert loaded == "[]"


def test_the_probe_for_loaded_code_can_fail(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import pydantic")
    command = [sys.executable, "-I", "-c", OFFLINE, script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "['pydantic']\n"


def test_the_reader_without_records_checks_the_golden_ones(tmp_path):
    done = subprocess.run([sys.executable, "-I", READER, GOLDEN], capture_output=True, text=True, check=True)
    assert re.search(r"^onnxruntime [\d.]+: \d+ golden records reproduced, within \S+$", done.stdout.strip())


def test_the_reader_refuses_golden_scores_that_are_not_reproduced(reader):
    model = reader.Model(GOLDEN)
    model.documents["golden"]["scores"][3]["kl"] += 1.0
    with pytest.raises(ValueError, match="golden record 3: expected the kl"):
        model.largest_golden_difference()


@pytest.mark.parametrize("key", list(MODELS))
def test_each_document_is_specified_field_by_field(key):
    fields = {name for kind in MODELS[key] for name in kind.model_fields}
    assert set(first_cells(section(f"`{key}`"), "field")) == fields


def test_each_kind_of_column_has_its_own_table():
    tables = re.split(r"^Where .*`(\w+)`", section("`vaegis.schema`"), flags=re.MULTILINE)
    kinds = zip(tables[1::2], tables[2::2], strict=True)
    given_fields = {kind: set(first_cells(table, "field")) for kind, table in kinds}
    shared = {"name", "reading", "missing_share", "checks", "violating_share", "kind", "why", "warnings"}
    assert given_fields == {
        kind.model_fields["kind"].default: set(kind.model_fields) - shared for kind in MODELS[MetadataKey.SCHEMA][2:]
    }


def test_each_metadata_key_is_listed():
    assert first_cells(section("The bytes"), "key") == list(MetadataKey)


def test_each_input_and_output_is_listed(model):
    graph = section("The graph")
    assert first_cells(graph, "input") == [node.name for node in model.session.get_inputs()]
    assert first_cells(graph, "output") == list(OUTPUTS) == [node.name for node in model.session.get_outputs()]


def test_the_constants_of_the_document_are_those_of_the_code():
    assert f"at most {contract.MOST_KNOWN_VALUES} |" in section("`vaegis.schema`")
    assert f"the service's own is {DEFAULT_TEMPERATURE}" in " ".join(section("`vaegis.generator`").split())
    *first, last = map(str, contract.QUANTILE_FRACTIONS)
    assert f"{', '.join(first)} and {last}" in section("`vaegis.schema`")
    assert f"# The model file, format version {FORMAT_VERSION}" in DOCUMENT
    assert f"decimal integer: `{FORMAT_VERSION}`" in DOCUMENT


def test_the_golden_file_has_the_versions_that_the_document_states():
    fields = list(protobuf.fields(memoryview(GOLDEN.read_bytes())))
    assert [value for number, value in fields if number == 1] == [8]  # ir_version
    sets = [dict(protobuf.fields(value)) for number, value in fields if number == 8]  # opset_import
    versions = {bytes(entry.get(1, b"")).decode() or "ai.onnx": entry[2] for entry in sets}
    assert versions == {"ai.onnx": 18, "ai.onnx.ml": 3}
    assert "IR version 8" in DOCUMENT
    assert all(f"`{domain}` {version}" in DOCUMENT for domain, version in versions.items())


@given(
    amount=st.floats(allow_infinity=False),
    express=st.sampled_from([0.0, 1.0, np.nan]),
    placed_at=st.floats(allow_infinity=False),
    country=texts,
    observed=st.booleans(),
)
def test_outputs_are_finite_for_every_finite_number(model, amount, express, placed_at, country, observed):
    inputs = {
        "numbers": np.array([[amount, express, placed_at]]),
        "strings": np.array([[country]], dtype=object),
        "strings_observed": np.array([[observed]]),
    }
    score, *_, contributions, expected = model.session.run(list(OUTPUTS), inputs)
    assert np.isfinite(contributions).all()
    assert np.isfinite(expected).all()
    assert score[0] == pytest.approx(contributions.sum(), rel=1e-12, abs=1e-9)
