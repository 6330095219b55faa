"""Every format tells the same of the same block, and only what the document says."""

from __future__ import annotations

import csv
import io
import json
import math

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from msgspec.structs import replace

from vaegis.service.columns import Columns
from vaegis.service.contract import ViolationCode
from vaegis.service.errors import Fault
from vaegis.service.explanations import Contribution
from vaegis.service.files.verdict_table import VERDICT_TYPES
from vaegis.service.http.schemas import ResultItem, ScoreAnswer
from vaegis.service.http.writers.arrow import arrow_writer
from vaegis.service.http.writers.csv import csv_writer
from vaegis.service.http.writers.json import LINE_FIELDS, json_writer, ndjson_writer
from vaegis.service.http.writers.writer import AnswerMetadata
from vaegis.service.reasons import Reason
from vaegis.service.records.blocks import Block
from vaegis.service.verdicts import Verdicts
from vaegis.service.violations import Violation

METADATA = AnswerMetadata('m\u00f6del "1"', "sha256:00", 0.01, 4.5, "split-conformal", 1000)
ACCOUNT = (
    Contribution("amount", 1.5, 10**20, 0.1 + 0.2, Reason.OUT_OF_RANGE),
    Contribution("a,b", -1e-300, 'D"E\n\u4e2d', None, None),
    Contribution("express", 0.0, True, False, None),
)
BROKEN = (
    Violation("amount", ViolationCode.ABOVE_RANGE, 10**20, 100.5),
    Violation("a,b", ViolationCode.UNSEEN_CATEGORY, 'D"E\n\u4e2d', None),
)
FAULTS = (
    Fault(8, "amount", "wrong_type", 'records[8].amount: expected "a number", got text'),
    Fault(8, None, "x", "y"),
)


def block_of(first_row, records, faults):
    sound = records - len(faults)
    return Block(
        first_row,
        records,
        Columns(np.zeros((sound, 1)), np.zeros((sound, 0), object), np.zeros((sound, 0), bool)),
        faults,
    )


def verdicts_of(*accounts):
    n = len(accounts)
    numbers = np.random.default_rng(n).normal(size=(6, n)) * 10.0 ** np.arange(6)[:, None]
    return Verdicts(
        *numbers[:2],
        np.array([bool(account) for account in accounts], dtype=bool),
        *numbers[2:],
        violations=[BROKEN if account else () for account in accounts],
        reasons=[(Reason.OUT_OF_RANGE, Reason.FAR_FROM_KNOWN) if account else () for account in accounts],
        signature=['"a,b":above_range+more' if account else None for account in accounts],
        contributions=list(accounts),
    )


BLOCKS = [
    (block_of(0, 3, {}), verdicts_of(None, ACCOUNT, None)),
    (block_of(3, 5, {0: FAULTS[:1], 4: FAULTS}), verdicts_of(None, (), ACCOUNT)),
    (block_of(8, 1, {0: FAULTS}), verdicts_of()),
]


def expected(blocks):
    """Return what each record's line holds, in Python's own terms."""
    lines = []
    for block, verdicts in blocks:
        sound = 0
        for row in range(block.records):
            line = dict.fromkeys(LINE_FIELDS) | {"row": block.first_row + row}
            if row in block.faults:
                line["errors"] = [
                    {name: getattr(f, name) for name in ("column", "code", "message")} for f in block.faults[row]
                ]
            else:
                for name in LINE_FIELDS[1:8]:
                    line[name] = getattr(verdicts, name)[sound].item()
                line["violations"] = [msgspec.structs.asdict(item) for item in verdicts.violations[sound]]
                line["reasons"] = [str(reason) for reason in verdicts.reasons[sound]]
                line["signature"] = verdicts.signature[sound]
                account = verdicts.contributions[sound]
                line["contributions"] = None if account is None else [msgspec.structs.asdict(item) for item in account]
                sound += 1
            lines.append(line)
    return lines


def written(writer, blocks):
    return writer.whole(writer.part(block, verdicts) for block, verdicts in blocks)


def _read(name, cell):
    """Return what a cell of CSV holds: lists and numbers are JSON text."""
    return cell if name == "signature" else json.loads(cell)


SOME = pytest.mark.parametrize("blocks", [[], BLOCKS[:1], BLOCKS], ids=["none", "sound", "mixed"])


@SOME
def test_a_line_of_ndjson_holds_all_fields_of_a_record(blocks):
    text = written(ndjson_writer(), blocks).decode()
    assert [json.loads(line) for line in text.split("\n")[:-1]] == expected(blocks)


@SOME
def test_a_line_of_csv_holds_them_as_text(blocks):
    text = written(csv_writer(), blocks).decode()
    found = [
        {name: _read(name, cell) if cell else None for name, cell in line.items()}
        for line in csv.DictReader(io.StringIO(text, newline=""))
    ]
    assert found == expected(blocks)
    assert text.splitlines()[0] == ",".join(LINE_FIELDS)


@SOME
def test_a_batch_of_arrow_holds_them_by_type(blocks):
    with pa.ipc.open_stream(written(arrow_writer(METADATA), blocks)) as reader:
        table = reader.read_all()
    table.validate(full=True)
    for name, kind in VERDICT_TYPES.items():
        assert table.schema.field(name).type == kind
    lines = expected(blocks)
    for line in lines:
        for item in line["violations"] or ():
            item |= {name: json.dumps(item[name], ensure_ascii=False) for name in ("observed", "limit")}
        for item in line["contributions"] or ():
            item |= {name: json.dumps(item[name], ensure_ascii=False) for name in ("observed", "expected")}
    assert table.to_pylist() == lines
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata == {f"vaegis.{name}": str(value) for name, value in METADATA.fields.items()}


@pytest.mark.parametrize(
    ("blocks", "has_errors"), [([], False), (BLOCKS[:1], False), ([], True), (BLOCKS[:1], True), (BLOCKS, True)]
)
def test_a_document_holds_them_as_results(blocks, has_errors):
    answer = json.loads(written(json_writer(METADATA, has_errors=has_errors), blocks))
    assert list(answer) == list(ScoreAnswer.model_fields)
    names = [name for name in ResultItem.model_fields if has_errors or name != "errors"]
    assert [list(result) for result in answer["results"]] == [names] * len(answer["results"])
    assert answer["results"] == [{name: line[name] for name in names} for line in expected(blocks)]


@pytest.mark.parametrize("writer", [ndjson_writer(), csv_writer(), json_writer(METADATA, has_errors=False)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_text_is_written_of_what_is_not_finite(writer, value):
    block, verdicts = BLOCKS[0]
    for wrong in (
        replace(verdicts, kl=np.array([0.0, value, 0.0])),
        replace(verdicts, contributions=[None, (replace(ACCOUNT[0], contribution=value),), None]),
        replace(verdicts, contributions=[None, (replace(ACCOUNT[0], expected=value),), None]),
    ):
        with pytest.raises(ValueError, match="expected finite numbers"):
            writer.part(block, wrong)


def test_headers_carry_what_a_format_has_no_place_for():
    assert dict(METADATA.headers) == {
        b"vaegis-model": b"m%C3%B6del%20%221%22",
        b"vaegis-model-digest": b"sha256:00",
        b"vaegis-alpha": b"0.01",
        b"vaegis-threshold": b"4.5",
        b"vaegis-guarantee": b"split-conformal",
        b"vaegis-calibration-records": b"1000",
    }


def test_a_line_has_the_fields_of_a_result_a_row_and_errors():
    assert {*LINE_FIELDS} == {*ResultItem.model_fields, "row"}
    assert [*json.loads(ndjson_writer().part(*BLOCKS[0]).split(b"\n")[0])] == [*LINE_FIELDS]
