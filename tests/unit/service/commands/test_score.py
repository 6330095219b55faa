"""`vaegis score`."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from urllib.parse import quote

import numpy as np
import pytest

from vaegis.service import model
from vaegis.service.artifact import load_artifact
from vaegis.service.generation import Generator
from vaegis.service.pvalues import guarantee
from vaegis.service.records.python_records import columns_from_records
from vaegis.service.verdicts import Explain

pa = pytest.importorskip("pyarrow")
import pyarrow.csv as pa_csv  # noqa: E402 - only where pyarrow is installed
import pyarrow.parquet as pa_parquet  # noqa: E402 - the same

from vaegis.service.files import batches as record_batches  # noqa: E402 - the same
from vaegis.service.files import scoring  # noqa: E402 - the same
from vaegis.service.files.formats import FileFormat  # noqa: E402 - the same
from vaegis.service.files.output import Output  # noqa: E402 - the same
from vaegis.service.files.record_files import open_records  # noqa: E402 - the same
from vaegis.service.files.tables import fitted  # noqa: E402 - the same
from vaegis.service.files.verdict_table import VERDICT_TYPES  # noqa: E402 - the same

RECORDS = 60


@pytest.fixture(scope="module")
def artifact(golden_model):
    return load_artifact(golden_model)


@pytest.fixture(scope="module")
def records(artifact):
    """Ordinary records, and one whose first number is absurd."""
    drawn = Generator(artifact.contract).draw(RECORDS, 7)
    first_number = next(c.name for c in artifact.contract.columns.columns if c.kind == "numeric")
    drawn[3][first_number] = 1e12
    return drawn


@pytest.fixture(scope="module")
def verdicts(artifact, records):
    schema = artifact.contract.columns
    columns = columns_from_records(records, schema, unknown_columns="reject", max_faults=1)
    return artifact.judge(columns, alpha=0.01)


@pytest.fixture
def table(artifact, records) -> pa.Table:
    columns = {name: [record[name] for record in records] for name in artifact.contract.columns.names}
    for column in artifact.contract.columns.columns:
        if column.kind == "timestamp":
            columns[column.name] = [v and datetime.fromisoformat(v) for v in columns[column.name]]
    return pa.table(columns)


@pytest.fixture
def parquet(table, tmp_path):
    path = tmp_path / "records.parquet"
    pa_parquet.write_table(table, path)
    return path


@pytest.fixture
def ndjson(records, tmp_path):
    path = tmp_path / "records.ndjson"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_parquet_gets_the_verdicts_beside_its_own_columns(vaegis, golden_model, parquet, table, verdicts, tmp_path):
    ended = vaegis("score", golden_model, parquet, "-o", tmp_path / "scored.parquet", "--alpha", 0.01)
    scored = pa_parquet.read_table(tmp_path / "scored.parquet")
    assert ended.code == 0
    assert scored.select(table.column_names) == table
    assert scored.column_names == [*table.column_names, *VERDICT_TYPES]
    for field in ("score", "p_value", "elbo", "reconstruction_error", "kl", "latent_contribution"):
        assert scored[field].to_pylist() == pytest.approx(getattr(verdicts, field), abs=1e-3)
    assert scored["is_anomaly"].to_pylist() == verdicts.is_anomaly.tolist()
    assert scored["reasons"].to_pylist() == [*map(list, verdicts.reasons)]


def test_the_absurd_record_is_an_anomaly_with_its_column_and_reason(vaegis, golden_model, parquet, table, tmp_path):
    vaegis("score", golden_model, parquet, "-o", tmp_path / "scored.parquet")
    scored = pa_parquet.read_table(tmp_path / "scored.parquet").slice(3, 1).to_pylist()[0]
    assert scored["is_anomaly"]
    assert "out_of_range" in scored["reasons"]
    assert scored["contributions"][0]["reason"] == "out_of_range"
    assert json.loads(scored["contributions"][0]["observed"]) == 1e12
    terms = [item["contribution"] for item in scored["contributions"]]
    assert sum(terms) + scored["latent_contribution"] == pytest.approx(scored["score"])


@pytest.mark.parametrize(("explain", "explained"), [("none", 0), ("all", RECORDS)])
def test_contributions_are_null_unless_asked_for(vaegis, golden_model, parquet, tmp_path, explain, explained):
    vaegis("score", golden_model, parquet, "-o", tmp_path / "scored.parquet", "--explain", explain)
    contributions = pa_parquet.read_table(tmp_path / "scored.parquet")["contributions"]
    assert len(contributions) - contributions.null_count == explained


def test_a_report_is_written_beside_the_same_verdicts(vaegis, golden_model, parquet, tmp_path):
    vaegis("score", golden_model, parquet, "-o", tmp_path / "plain.parquet")
    ended = vaegis("score", golden_model, parquet, "-o", tmp_path / "a.parquet", "--report", tmp_path / "page.html")
    assert ended.code == 0
    assert pa_parquet.read_table(tmp_path / "a.parquet") == pa_parquet.read_table(tmp_path / "plain.parquet")
    page = (tmp_path / "page.html").read_text()
    assert "row 4" in page
    assert "1000000000000" not in page


@pytest.mark.parametrize(
    "arguments", [("--report-values",), ("--report", "p.html", "--explain", "none"), ("--report", "records.parquet")]
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    vaegis, golden_model, parquet, tmp_path, monkeypatch, arguments
):
    monkeypatch.chdir(tmp_path)
    ended = vaegis("score", golden_model, parquet, "-o", tmp_path / "a.parquet", *arguments)
    assert ended.code in {1, 2}
    assert "report" in ended.err
    assert not (tmp_path / "a.parquet").exists()


def test_ndjson_holds_contributions_as_json(vaegis, golden_model, ndjson, records, verdicts):
    ended = vaegis("score", golden_model, ndjson, "-o", "-", "--alpha", 0.01)
    scored = [json.loads(line) for line in ended.out.splitlines()]
    assert [{name: line[name] for name in records[0]} for line in scored] == records
    assert [line["score"] for line in scored] == pytest.approx(verdicts.score, abs=1e-3)
    assert scored[3]["contributions"][0]["observed"] == 1e12
    assert scored[0]["contributions"] is None


def test_csv_holds_lists_as_json_text(vaegis, golden_model, parquet, tmp_path):
    vaegis("score", golden_model, parquet, "-o", tmp_path / "scored.csv")
    scored = pa_csv.read_csv(tmp_path / "scored.csv")
    assert "out_of_range" in json.loads(scored["reasons"][3].as_py())
    assert json.loads(scored["contributions"][3].as_py())[0]["reason"] == "out_of_range"


@pytest.fixture(params=["parquet", "ndjson", "csv", "arrow"])
def source(request, parquet, ndjson, table, tmp_path):
    """The same records in each format."""
    pa_csv.write_csv(table, tmp_path / "records.csv")
    with pa.ipc.new_file(tmp_path / "records.arrow", table.schema) as writer:
        writer.write_table(table)
    return tmp_path / f"records.{request.param}"


@pytest.mark.parametrize("target", ["parquet", "ndjson", "csv", "arrow"])
def test_every_format_is_scored_into_every_other(vaegis, golden_model, source, verdicts, tmp_path, target):
    output = tmp_path / f"scored.{target}"
    assert vaegis("score", golden_model, source, "-o", output).code == 0
    assert scores_in(output) == pytest.approx(verdicts.score, abs=1e-3)


def scores_in(path) -> list[float]:
    match path.suffix:
        case ".parquet":
            return pa_parquet.read_table(path)["score"].to_pylist()
        case ".csv":
            return pa_csv.read_csv(path)["score"].to_pylist()
        case ".arrow":
            return pa.ipc.open_file(path).read_all()["score"].to_pylist()
        case _:
            return [json.loads(line)["score"] for line in path.read_text().splitlines()]


def test_a_folder_is_scored_file_by_file_in_small_parts(vaegis, golden_model, table, verdicts, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "_MAX_TERMS", 50)
    (tmp_path / "day").mkdir()
    pa_parquet.write_table(table.slice(0, 25), tmp_path / "day" / "1.parquet")
    pa_parquet.write_table(table.slice(25), tmp_path / "day" / "2.parquet")
    vaegis("score", golden_model, tmp_path / "day", "-o", tmp_path / "scored.parquet")
    assert scores_in(tmp_path / "scored.parquet") == pytest.approx(verdicts.score, abs=1e-3)


@pytest.mark.parametrize("suffix", ["parquet", "ndjson"])
def test_folders_give_columns_also_to_a_part_of_them(vaegis, golden_model, table, verdicts, tmp_path, suffix):
    name = next(column for column in table.schema.names if pa.types.is_string(table[column].type))
    for value in table[name].unique().to_pylist():
        records = table.filter(pa.array([each == value for each in table[name].to_pylist()])).drop_columns([name])
        folder = tmp_path / "all" / f"{name}={'__HIVE_DEFAULT_PARTITION__' if value is None else quote(value, '')}"
        folder.mkdir(parents=True)
        if suffix == "parquet":
            pa_parquet.write_table(records, folder / "1.parquet")
        else:
            lines = (json.dumps(record, default=str) + "\n" for record in records.to_pylist())
            (folder / "1.ndjson").write_text("".join(lines))
    output = tmp_path / "scored.parquet"
    vaegis("score", golden_model, tmp_path / "all", "-o", output)
    assert sorted(scores_in(output)) == pytest.approx(sorted(verdicts.score), abs=1e-3)
    whole = scores_in(output)
    for part in (folder, folder / f"1.{suffix}"):  # the last ones
        vaegis("score", golden_model, part, "-o", output)
        scores = scores_in(output)
        assert any(scores == pytest.approx(whole[at : at + len(scores)], abs=1e-3) for at in range(len(whole)))


def test_the_summary_shows_anomalies_and_the_guarantee(vaegis, artifact, golden_model, parquet, verdicts, tmp_path):
    anomalies = (verdicts.p_value <= 0.05).sum()
    ended = vaegis("score", golden_model, parquet, "-o", tmp_path / "scored.csv", "--alpha", 0.05)
    violating = sum(map(bool, verdicts.violations))
    assert ended.err == (
        f"60 records scored: {anomalies} anomalies ({anomalies / 60:.3%}), {violating} with violations; "
        f"written to {tmp_path}/scored.csv\n"
        f"{guarantee(artifact.calibration_folds, 0.05)}\n"
    )


def test_no_records_make_an_empty_table(vaegis, golden_model, artifact, tmp_path):
    names = ",".join(artifact.contract.columns.names)
    (tmp_path / "records.csv").write_text(f"{names}\n")
    ended = vaegis("score", golden_model, tmp_path / "records.csv", "-o", tmp_path / "scored.parquet")
    assert ended.err.startswith("0 records scored: 0 anomalies, 0 with violations; written to")
    scored = pa_parquet.read_table(tmp_path / "scored.parquet")
    assert scored.column_names == [*artifact.contract.columns.names, *VERDICT_TYPES]


def test_a_lacking_column_is_null_throughout(vaegis, golden_model, artifact, table, tmp_path):
    kept = table.column_names[0]
    pa_parquet.write_table(table.select([kept]), tmp_path / "records.parquet")
    assert vaegis("score", golden_model, tmp_path / "records.parquet", "-o", tmp_path / "scored.csv").code == 0


def test_types_that_change_within_ndjson_become_text(vaegis, golden_model, records, tmp_path, monkeypatch):
    monkeypatch.setattr("vaegis.service.files.ndjson.BLOCK_BYTES", 300)
    lines = [json.dumps({**record, "extra": at if at < RECORDS // 2 else str(at)}) for at, record in enumerate(records)]
    (tmp_path / "records.ndjson").write_text("\n".join(lines))
    ended = vaegis(
        "score", golden_model, tmp_path / "records.ndjson", "-o", tmp_path / "s.parquet", "--unknown-columns", "ignore"
    )
    assert ended.code == 0
    assert pa_parquet.read_table(tmp_path / "s.parquet")["extra"].to_pylist() == [str(at) for at in range(RECORDS)]


@pytest.mark.parametrize("target", ["csv", "parquet"])
def test_files_whose_columns_are_of_several_types_make_one_table(vaegis, golden_model, table, tmp_path, target):
    (tmp_path / "days").mkdir()
    values = [[1], ["x"], [[2]], [b"\xff"], [None]]
    for at, value in enumerate(values):
        part = table.slice(0, 1).append_column("note", pa.array(value))
        pa_parquet.write_table(part, tmp_path / "days" / f"{at}.parquet")
    output = tmp_path / f"scored.{target}"
    assert vaegis("score", golden_model, tmp_path / "days", "-o", output, "--unknown-columns", "ignore").code == 0
    read = pa_csv.read_csv if target == "csv" else pa_parquet.read_table
    assert read(output)["note"].to_pylist()[:4] == ["1", "x", "[2]", "/w=="]


def test_an_unknown_column_is_refused_by_name(vaegis, golden_model, table, tmp_path):
    pa_parquet.write_table(table.append_column("label", pa.array([0] * RECORDS)), tmp_path / "records.parquet")
    ended = vaegis("score", golden_model, tmp_path / "records.parquet", "-o", tmp_path / "scored.csv")
    assert ended.code == 1
    assert "column label: unknown column" in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records.parquet"]


def test_a_name_in_an_error_is_escaped_on_the_terminal(vaegis, golden_model, table, tmp_path):
    path = tmp_path / "records.parquet"
    pa_parquet.write_table(table.append_column("la\x1b[2J\nbel", pa.array([0] * RECORDS)), path)
    ended = vaegis("score", golden_model, path, "-o", tmp_path / "scored.csv")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "column la\\x1b[2J\\nbel: unknown column" in ended.err


def test_an_unknown_column_is_copied_where_that_is_asked_for(vaegis, golden_model, table, tmp_path):
    labelled = table.append_column("label", pa.array(range(RECORDS)))
    pa_parquet.write_table(labelled, tmp_path / "records.parquet")
    output = tmp_path / "scored.parquet"
    vaegis("score", golden_model, tmp_path / "records.parquet", "-o", output, "--unknown-columns", "ignore")
    assert pa_parquet.read_table(output)["label"].to_pylist() == list(range(RECORDS))


def test_a_column_named_as_a_verdicts_is_refused_and_a_prefix_sets_it_apart(vaegis, golden_model, table, tmp_path):
    data, output = tmp_path / "records.parquet", tmp_path / "scored.parquet"
    pa_parquet.write_table(table.append_column("kl", pa.array([0.5] * RECORDS)), data)
    options = ("score", golden_model, data, "-o", output, "--unknown-columns", "ignore")
    refused = vaegis(*options)
    assert refused.code == 1
    assert "column kl: the verdict has a column of this name" in refused.err
    assert vaegis(*options, "--prefix", "vaegis_").code == 0
    scored = pa_parquet.read_table(output)
    assert set(scored["kl"].to_pylist()) == {0.5}
    assert np.isfinite(scored["vaegis_kl"].to_numpy()).all()


@pytest.mark.parametrize("target", ["csv", "ndjson"])
def test_a_bad_value_is_reported_with_file_row_and_column(
    vaegis, golden_model, artifact, ndjson, records, tmp_path, target
):
    number = next(c.name for c in artifact.contract.columns.columns if c.kind == "numeric")
    lines = [json.dumps({**record, number: "much" if at == 40 else "1.5"}) for at, record in enumerate(records)]
    ndjson.write_text("\n".join(lines))
    ended = vaegis("score", golden_model, ndjson, "-o", tmp_path / f"scored.{target}")
    assert ended.code == 1
    assert ended.err.startswith(f"vaegis: error: {ndjson}, row 41, column {number}: expected a number")
    assert "much" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["records.ndjson"]


@pytest.fixture
def faulty(artifact, records, tmp_path):
    """NDJSON whose rows 3 and 6 do not fit, and a row 11 that is no record."""
    number = next(c.name for c in artifact.contract.columns.columns if c.kind == "numeric")
    lines = [json.dumps(record | ({number: "much"} if at in (2, 5) else {})) for at, record in enumerate(records)]
    path = tmp_path / "faulty.ndjson"
    path.write_text("\n".join([*lines[:10], "[]", *lines[10:]]))
    return path


@pytest.mark.parametrize("target", ["parquet", "ndjson", "csv", "arrow"])
def test_faulty_records_are_written_with_their_errors_and_the_others_are_scored(
    vaegis, golden_model, faulty, verdicts, tmp_path, target
):
    output = tmp_path / f"scored.{target}"
    ended = vaegis("score", golden_model, faulty, "-o", output, "--on-invalid", "report")
    assert ended.code == 0
    assert ended.err.startswith("58 records scored: ")
    assert f"; 3 more not scored, because they do not fit (see errors); written to {output}\n" in ended.err
    wanted = [None if at in (2, 5) else score for at, score in enumerate(verdicts.score.tolist())]
    wanted.insert(10, None)
    assert scores_in(output) == [None if score is None else pytest.approx(score, abs=1e-3) for score in wanted]
    errors = errors_in(output)
    assert [at for at, of_record in enumerate(errors) if of_record] == [2, 5, 10]
    (number,), (no_record,) = errors[2], errors[10]
    assert number["code"] == "wrong_type"
    assert number["message"] == f"{faulty}, row 3, column {number['column']}: expected a number, got text"
    message = f"{faulty}, row 11: expected an object, got a list"
    assert no_record == {"column": None, "code": "not_an_object", "message": message}
    assert "much" not in ended.err + json.dumps(errors)


def errors_in(path) -> list[list[dict[str, str | None]] | None]:
    match path.suffix:
        case ".parquet":
            return pa_parquet.read_table(path)["errors"].to_pylist()
        case ".csv":
            return [text and json.loads(text) for text in pa_csv.read_csv(path)["errors"].to_pylist()]
        case ".arrow":
            return pa.ipc.open_file(path).read_all()["errors"].to_pylist()
        case _:
            return [json.loads(line)["errors"] for line in path.read_text().splitlines()]


def test_where_no_record_is_at_fault_errors_are_null(vaegis, golden_model, parquet, tmp_path):
    output = tmp_path / "scored.parquet"
    ended = vaegis("score", golden_model, parquet, "-o", output, "--on-invalid", "report")
    assert (ended.code, "refused" in ended.err) == (0, False)
    assert errors_in(output) == [None] * RECORDS


def test_faults_are_reported_by_file_and_row_and_a_part_may_hold_nothing_else(
    vaegis, golden_model, table, tmp_path, monkeypatch
):
    monkeypatch.setattr(model, "_MAX_TERMS", 50)
    (tmp_path / "day").mkdir()
    names = ",".join(table.column_names)
    (tmp_path / "day" / "1.csv").write_text(f"{names}\n" + "1\n" * 30)
    pa_csv.write_csv(table.slice(0, 20), tmp_path / "day" / "2.csv")
    with (tmp_path / "day" / "2.csv").open("a") as file:
        file.write("1\n")
    ended = vaegis("score", golden_model, tmp_path / "day", "-o", "-", "--on-invalid", "report")
    assert ended.code == 0
    errors = [line["errors"] for line in map(json.loads, ended.out.splitlines())]
    assert [of_record[0]["message"].split(":")[0] for of_record in errors if of_record] == [
        *(f"{tmp_path}/day/1.csv, row {row}" for row in range(1, 31)),
        f"{tmp_path}/day/2.csv, row 21",
    ]


@pytest.mark.parametrize(
    ("line", "column", "code"),
    [
        ({"label": None}, "label", "unknown_column"),
        ({"amount": 1, "country": {"code": "DE"}}, "country", "wrong_type"),
        ({"country": 1.5}, "country", "wrong_type"),
        ({"country": ["DE"]}, "country", "wrong_type"),
        ({"country": "\ud800"}, "country", "invalid_text"),
        ({}, None, "no_known_column"),
    ],
)
def test_a_record_of_ndjson_has_the_faults_that_the_service_finds(
    vaegis, golden_model, records, tmp_path, line, column, code
):
    path = tmp_path / "records.ndjson"
    path.write_text("\n".join(map(json.dumps, [*records[:4], line, *records[4:]])))
    ended = vaegis("score", golden_model, path, "-o", "-", "--on-invalid", "report")
    errors = [line["errors"] for line in map(json.loads, ended.out.splitlines())]
    (fault,) = errors.pop(4)
    assert (fault["column"], fault["code"]) == (column, code)
    assert errors == [None] * RECORDS


def test_a_header_that_does_not_fit_ends_the_work_even_where_faults_are_reported(vaegis, golden_model, table, tmp_path):
    path = tmp_path / "records.parquet"
    pa_parquet.write_table(table.append_column("label", pa.array([0] * RECORDS)), path)
    ended = vaegis("score", golden_model, path, "-o", tmp_path / "scored.csv", "--on-invalid", "report")
    assert ended.code == 1
    assert "column label: unknown column" in ended.err


def test_a_path_cannot_steer_the_terminal(vaegis, golden_model, parquet, tmp_path):
    ended = vaegis("score", golden_model, parquet, "-o", tmp_path / "a\x1b[2J.csv")
    assert f"written to {tmp_path}/a\\x1b[2J.csv\n" in ended.err


def test_records_of_ndjson_whose_names_all_differ_are_fitted_in_bounded_parts(
    vaegis, golden_model, tmp_path, monkeypatch
):
    monkeypatch.setattr(record_batches, "MAX_BATCH_CELLS", 1000)
    widths = []
    monkeypatch.setattr(scoring, "fitted", lambda *args: widths.append(args[0].num_rows) or fitted(*args))
    path = tmp_path / "records.ndjson"
    path.write_text("\n".join(f'{{"amount": {at}, "k{at}": 1}}' for at in range(100)))
    output = tmp_path / "scored.parquet"
    flags = ("--on-invalid", "report", "--unknown-columns", "ignore")
    ended = vaegis("score", golden_model, path, "-o", output, *flags)
    assert ended.code == 0
    assert (max(widths), sum(widths)) == (1000 // 101, 100)
    table = pa_parquet.read_table(output)
    assert [table[f"k{at}"].to_pylist().index(1) for at in range(100)] == [*range(100)]
    assert None not in scores_in(output)


@pytest.mark.parametrize("alpha", ["0", "1", "nan", "1e-9"])
def test_an_alpha_that_cannot_be_promised_is_a_usage_error(vaegis, golden_model, parquet, tmp_path, alpha):
    ended = vaegis("score", golden_model, parquet, "-o", tmp_path / "scored.csv", "--alpha", alpha)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith("vaegis: error: alpha: expected")


def test_an_output_that_is_an_input_is_refused(vaegis, golden_model, parquet):
    before = parquet.read_bytes()
    ended = vaegis("score", golden_model, parquet, "-o", parquet)
    assert ended.code == 1
    assert "the output is one of the files to read; choose another" in ended.err
    assert parquet.read_bytes() == before


def test_an_interrupted_run_leaves_nothing_behind(artifact, parquet, tmp_path, monkeypatch):
    def interrupt(_tally: scoring.ScoreCounts) -> None:
        raise KeyboardInterrupt

    files = open_records(parquet)
    output = Output(tmp_path / "scored.parquet", FileFormat.PARQUET)
    rules = scoring.ScoreFilesOptions(alpha=0.01, explain=Explain.NONE, unknown_columns="reject", prefix="")
    with pytest.raises(KeyboardInterrupt):
        scoring.score_files(model.Model(artifact), files, output, rules, interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["records.parquet"]


def test_without_pyarrow_the_extra_is_named(vaegis, golden_model, parquet, tmp_path, monkeypatch):
    for module in ("vaegis.service.files.scoring", "vaegis.service.files.tables", "vaegis.service.files.record_files"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ended = vaegis("score", golden_model, parquet, "-o", tmp_path / "scored.parquet")
    assert ended.code == 1
    assert ended.err.endswith("pyarrow is not installed; pip install 'vaegis[files]'\n")


@pytest.mark.parametrize("suffix", ["ndjson", "parquet"])
def test_standard_input_is_scored_as_a_file_of_it_is(vaegis, golden_model, ndjson, parquet, monkeypatch, suffix):
    path = {"ndjson": ndjson, "parquet": parquet}[suffix]
    of_file = vaegis("score", golden_model, path, "-o", "-")
    with path.open() as source:
        monkeypatch.setattr("sys.stdin", source)
        ended = vaegis("score", golden_model, "-", "--format", suffix, "-o", "-")
    assert (ended.code, ended.out) == (0, of_file.out)
    assert ended.out.count("\n") == RECORDS


def test_faults_of_standard_input_name_it(vaegis, golden_model, tmp_path, monkeypatch):
    (tmp_path / "records.csv").write_text("amount\nmany\n")
    place = "standard input, row 1, column amount: expected a number"
    for on_invalid in ("reject", "report"):
        with (tmp_path / "records.csv").open() as source:
            monkeypatch.setattr("sys.stdin", source)
            ended = vaegis("score", golden_model, "-", "--format", "csv", "-o", "-", "--on-invalid", on_invalid)
        message = ended.err if on_invalid == "reject" else json.loads(ended.out)["errors"][0]["message"]
        assert message.removeprefix("vaegis: error: ").startswith(place)


def test_a_format_is_for_standard_input_only_and_needed_there(vaegis, golden_model, ndjson):
    ended = vaegis("score", golden_model, "-", "-o", "-")
    assert ended.code == 1
    assert "expected --format csv|tsv|ndjson|parquet|arrow" in ended.err
    ended = vaegis("score", golden_model, ndjson, "--format", "csv", "-o", "-")
    assert ended.code == 1
    assert "--format is for standard input" in ended.err


def test_an_ignored_column_that_is_a_missing_one_in_capitals_is_noted(vaegis, golden_model, tmp_path):
    data, output = tmp_path / "a.csv", tmp_path / "s.csv"
    data.write_text("AMOUNT,country\n22.5,DE\n", encoding="utf-8")
    done = vaegis("score", golden_model, data, "-o", output, "--unknown-columns", "ignore")
    assert "Note: column AMOUNT is ignored. It differs from amount, which is missing, in case alone.\n" in done.err
