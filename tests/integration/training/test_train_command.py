from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from vaegis.service.artifact import load_artifact
from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.files.arrow_columns import columns_from_batch
from vaegis.service.files.record_files import open_records
from vaegis.service.generation import Generator
from vaegis.service.http.app import create_app
from vaegis.service.model import load
from vaegis.service.model_file import MetadataKey
from vaegis.service.onnx_model import metadata_props
from vaegis.service.pvalues import threshold
from vaegis.service.report.page import report_page
from vaegis.service.settings import load_settings
from vaegis.service.terminal import counted
from vaegis.training import cli
from vaegis.training.checks import DroppedCheck
from vaegis.training.config import TrainConfig, load_config, with_overrides
from vaegis.training.data.kinds import plan_columns
from vaegis.training.data.row_location import RowLocation
from vaegis.training.data.sampling import profile_and_sample
from vaegis.training.errors import ExportError
from vaegis.training.fit import Epoch
from vaegis.training.progress import Progress
from vaegis.training.train import train

pytestmark = pytest.mark.training


def documents(path: Path) -> dict[str, object]:
    entries = metadata_props(memoryview(path.read_bytes()))
    return {key: json.loads(value) for key, value in entries if key != MetadataKey.DIGEST}


def records_of(path: Path, schema) -> Columns:
    (batch,) = pq.read_table(path).combine_chunks().to_batches()
    return columns_from_batch(batch, schema, path=path, first_row=1)


def test_the_model_is_one_that_the_service_uses(trained):
    artifact = load_artifact(trained.model)
    assert artifact.verify().records > 16
    schema = artifact.contract.columns
    assert {column.name: column.kind for column in schema.columns} == {
        "temperature": "numeric",
        "pressure": "numeric",
        "running": "boolean",
        "mode": "categorical",
        "taken_at": "timestamp",
        "floor": "numeric",
        "reading_id": "text",
    }
    assert {column.name: column.reason for column in schema.ignored} == {
        "comment": "every value is null",
    }
    scores = artifact.scorer.score(records_of(trained.data, schema)).score
    assert np.isfinite(scores).all()


def test_its_provenance_shows_where_it_came_from(trained):
    provenance = load_artifact(trained.model).contract.provenance
    assert provenance.model_name == "machine"
    assert provenance.seed == 5
    assert provenance.sources == ("readings.parquet",)
    assert provenance.records == {"read": 600, "sampled": 600, "fit": 450, "calibration": 150}
    assert provenance.split == "random"
    assert provenance.settings["fit"]["steps"] == 150
    assert provenance.fit["members"] == 1
    assert provenance.fit["interrupted"] is False


def test_alpha_holds_on_the_calibration_records(trained):
    artifact = load_artifact(trained.model)
    assert artifact.contract.calibration.alpha == 0.05
    assert artifact.contract.calibration.method == "split-conformal"
    (scores,) = artifact.calibration_folds
    assert scores.size == 150
    assert (scores > threshold([scores], 0.05)).sum() == 6


def test_a_column_that_was_constant_notices_another_value(trained):
    artifact = load_artifact(trained.model)
    usual = records_of(trained.data, artifact.contract.columns).rows(slice(0, 50))
    numbers = usual.numbers.copy()
    numbers[:, -1] = 50.0
    moved = artifact.scorer.score(Columns(numbers, usual.strings, usual.strings_observed)).contributions[:, -2]
    assert (moved > artifact.scorer.score(usual).contributions[:, -2] + 5.0).all()


def test_the_run_shows_what_it_decided(trained):
    for text in (
        "reading_id",
        "an identifier",
        "ignored",
        "450 fit, 150 calibration",
        "exporting",
        "model.onnx",
    ):
        assert text in trained.output.replace("\n", " ")
    printed = " ".join(trained.output.split())
    assert "split-conformal with 150 calibration records At alpha 0.05, a normal record is flagged" in printed


def test_the_places_of_records_left_out_are_written_down(trained):
    header, *locations = [line.rsplit(",", 1) for line in trained.left_out.read_text().splitlines()]
    assert header == ["file", "row"]
    assert {file for file, _ in locations} <= {str(trained.data)}
    assert all(1 <= int(row) <= 600 for _, row in locations)
    line = f"left out of fitting: {counted(len(locations), 'record')} least like the others"
    assert (line in " ".join(trained.output.split())) is bool(locations)


def test_few_records_are_fitted_by_an_ensemble_that_each_of_them_calibrates(trained_on_few):
    artifact = load_artifact(trained_on_few.model)
    artifact.verify()
    provenance, calibration = artifact.contract.provenance, artifact.contract.calibration
    assert provenance.records == {"read": 120, "sampled": 120, "fit": 120, "calibration": 120}
    assert provenance.split == "random"
    folds = TrainConfig().splits.folds
    assert provenance.fit["members"] == folds
    assert (calibration.method, len(calibration.folds), calibration.records) == ("cross-conformal", folds, 120)
    scored = artifact.scorer.score(records_of(trained_on_few.data, artifact.contract.columns))
    assert scored.fold_scores.shape == (120, folds)
    joined = 0.5 * (scored.fold_scores.mean(1) + scored.fold_scores.max(1))
    np.testing.assert_allclose(joined, scored.score, atol=0.04)
    assert (scored.score <= joined + 1e-9).all()
    printed = " ".join(trained_on_few.output.split())
    assert f"120 records: {folds} models, each fitted to 96 and calibrated by the rest" in printed
    assert "cross-conformal with 120 calibration records" in printed
    assert "% in practice" in printed


def test_the_folds_of_the_file_are_the_scores_of_the_records_by_members_that_did_not_see_them(trained_on_few):
    artifact = load_artifact(trained_on_few.model)
    scored = artifact.scorer.score(records_of(trained_on_few.data, artifact.contract.columns))
    tolerance = artifact.contract.calibration.tie_tolerance
    raised = scored.fold_scores + tolerance * np.maximum(1.0, np.abs(scored.fold_scores))
    for member, fold in zip(raised.T, artifact.calibration_folds, strict=True):
        nearest = np.abs(member[:, None] - fold).min(0)
        assert nearest.max() < 1e-3  # each score of the fold is that of some record, but for rounding


def test_a_model_of_few_records_is_served(trained_on_few):
    artifact = load_artifact(trained_on_few.model)
    record = pq.read_table(trained_on_few.data).select(artifact.contract.columns.names).slice(0, 1).to_pylist()[0]
    record["taken_at"] = record["taken_at"].isoformat()
    app = create_app(artifact, load_settings({}, {}))
    app.readiness.admit(artifact.verify())

    async def exchange() -> tuple[httpx.Response, httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.post("/score", json=[record, record | {"pressure": 1e6}]), await client.get("/model")

    scored, described = asyncio.run(exchange())
    usual, odd = scored.json()["results"]
    answer = described.json()
    assert usual["p_value"] > 0.05 >= odd["p_value"] == pytest.approx(1 / 121)
    assert odd["is_anomaly"]
    assert odd["contributions"][0]["column"] == "pressure"
    assert answer["calibration"]["method"] == "cross-conformal"
    assert "proven" in answer["calibration"]["guarantee"]


def test_few_records_with_a_time_column_are_split_by_it_all_the_same(trained_on_few, tmp_path):
    model = tmp_path / "model.onnx"
    code = cli.main(
        [str(trained_on_few.data), "-o", str(model), "-c", str(trained_on_few.settings), "--time-column", "taken_at"]
    )
    assert code == 0
    contract = load_artifact(model).contract
    assert (contract.calibration.method, contract.provenance.split) == ("split-conformal", "by time")
    assert contract.provenance.records == {"read": 120, "sampled": 120, "fit": 96, "calibration": 24}


def test_a_column_that_gives_the_time_alone_is_not_scored(trained_on_few, run_train, tmp_path):
    model, settings = tmp_path / "model.onnx", tmp_path / "train.toml"
    settings.write_text(trained_on_few.settings.read_text() + '[columns.taken_at]\nkind = "ignore"\n')
    assert run_train(trained_on_few.data, "-o", model, "-c", settings, "--time-column", "taken_at") == 0
    contract = load_artifact(model).contract
    assert contract.provenance.split == "by time"
    assert "taken_at" in {column.name for column in contract.columns.ignored}


def test_a_column_that_only_unsampled_records_have_is_left_out(run_train, tmp_path):
    data, model, settings = tmp_path / "data", tmp_path / "model.onnx", tmp_path / "train.toml"
    data.mkdir()
    numbers = np.random.default_rng(0).normal(size=5000)
    (data / "a.ndjson").write_text("".join(f'{{"x": {number}}}\n' for number in numbers))
    (data / "b.ndjson").write_text('{"x": 0.5, "late": 1.5}\n')
    settings.write_text("[data]\nmax_records = 200\n[fit]\nsteps = 20\n[calibration]\nalpha = 0.1\n")
    assert run_train(data, "-o", model, "-c", settings) == 0
    (ignored,) = load_artifact(model).contract.columns.ignored
    assert (ignored.name, ignored.reason) == ("late", "null in every record of the fit split")


def test_the_noise_of_a_column_is_that_of_records_from_the_whole_history(run_train, tmp_path):
    data, model, settings = tmp_path / "data.parquet", tmp_path / "model.onnx", tmp_path / "train.toml"
    noise = np.random.default_rng(0).normal(size=60_000)
    noise[:20_000] *= 1e-3  # the oldest records are far less noisy than all others
    pq.write_table(pa.table({"x": noise}), data)
    settings.write_text("[model]\nhidden = 4\n[fit]\nsteps = 5\nexemplars = 4\n")
    assert run_train(data, "-o", model, "-c", settings) == 0
    (column,) = load_artifact(model).contract.columns.columns
    assert column.noise_scale > 0.2


def test_one_seed_gives_one_file_but_for_its_time_of_creation(trained, run_train, tmp_path):
    again = tmp_path / "model.onnx"
    flags = ("--seed", 5, "--name", "machine", "--report", tmp_path / "report.html")
    assert run_train(trained.data, "-o", again, "-c", trained.settings, *flags) == 0
    first, second = trained.model.read_bytes(), again.read_bytes()
    graph_ends = first.index(MetadataKey.FORMAT.encode())
    assert first[:graph_ends] == second[:graph_ends]
    one, other = documents(trained.model), documents(again)
    created = [each[MetadataKey.PROVENANCE].pop("created_at") for each in (one, other)]
    assert created[0] != created[1]
    assert one == other


def test_the_places_of_records_left_out_do_not_replace_the_model(refused, tmp_path):
    said = refused(csv(), "--left-out", tmp_path / "." / "model.onnx")
    assert "model.onnx: the model has the same name" in said


class FolderGoneAfterTheFit(Progress):
    """A display at which someone removes the folder for the list of records left out."""

    def __init__(self, console: Console, folder: Path) -> None:
        super().__init__(console)
        self._folder = folder

    def left_out(self, locations: Sequence[RowLocation]) -> None:
        super().left_out(locations)
        self._folder.rmdir()


def test_no_model_is_published_when_the_places_of_records_left_out_cannot_be_written(trained_on_few, tmp_path):
    folder, model = tmp_path / "folder", tmp_path / "model.onnx"
    folder.mkdir()
    progress = FolderGoneAfterTheFit(Console(quiet=True), folder)
    config = load_config(trained_on_few.settings)
    with pytest.raises(ExportError, match=r"aside\.csv: cannot be written: No such file"):
        train(trained_on_few.data, model, config, progress, left_out=folder / "aside.csv")
    assert not model.exists()


def test_the_report_is_that_of_the_model(trained):
    model = load(trained.model)
    assert trained.report.read_text("utf-8") == report_page(model, Generator(model.artifact.contract))


@pytest.mark.parametrize("option", ["--left-out", "--report"])
def test_the_model_has_a_place_of_its_own(trained, tmp_path, capsys, option):
    assert cli.main([str(trained.data), "-o", str(tmp_path / "model"), option, str(tmp_path / "model")]) == 1
    assert "the model has the same name; choose another" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class InterruptedAtTheSecondEpoch(Progress):
    """A display at which someone presses Ctrl-C."""

    @contextmanager
    def fitting(self) -> Iterator[Callable[[Epoch], None]]:
        with super().fitting() as show:

            def on_epoch(epoch: Epoch) -> None:
                show(epoch)
                if epoch.number == 2:
                    signal.raise_signal(signal.SIGINT)

            yield on_epoch


def test_ctrl_c_keeps_the_model_so_far_and_still_exports_it(trained, tmp_path, capsys):
    config = with_overrides(load_config(trained.settings), {"data.time_column": "taken_at"})
    path = tmp_path / "cut_short.onnx"
    train(trained.data, path, config, InterruptedAtTheSecondEpoch(Console(width=200)))
    artifact = load_artifact(path)
    artifact.verify()
    provenance = artifact.contract.provenance
    assert provenance.fit["interrupted"] is True
    assert provenance.fit["epochs"] == 2
    assert provenance.split == "by time"
    assert provenance.model_name == "cut_short"
    assert "interrupted after epoch 2: the model so far is kept" in capsys.readouterr().out


@pytest.fixture
def run_train() -> Callable[..., int]:
    """Run `vaegis-train` with some arguments and return its exit code."""

    def run(*arguments: object) -> int:
        return cli.main([str(argument) for argument in arguments])

    return run


@pytest.fixture
def refused(run_train, tmp_path, capsys) -> Callable[..., str]:
    """Run `vaegis-train` on records that it refuses, and return the one line that it says."""

    def run(content: str | None, *arguments: object, name: str = "data.csv") -> str:
        data = tmp_path / name
        if content is not None:
            data.write_text(content)
        before = sorted(tmp_path.iterdir())
        assert run_train(data, "-o", tmp_path / "model.onnx", *arguments) == 1
        assert sorted(tmp_path.iterdir()) == before
        said = capsys.readouterr().err
        assert said.startswith("vaegis-train: error: ")
        assert said.count("\n") == 1
        assert "Traceback" not in said
        return said.removeprefix("vaegis-train: error: ").rstrip()

    return run


def csv(*columns: str, records: int = 60) -> str:
    """Return a table of the named columns and of a number that rises with the row, but is no row number."""
    header = ",".join(["x", *(column.split("=")[0] for column in columns)])
    rows = [",".join([str(i * 1.5), *(column.split("=")[1] for column in columns)]) for i in range(records)]
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"data\.csv: no such file"),
        ("", "data.csv"),
        ("x,y\n", ": expected records, got none"),
        ("x,y\n1,2\n", "expected at least"),
        (csv(records=24), "expected at least 25 records"),
        ("note,other\n" + "NA,NA\n" * 60, "expected records, got none"),
        (csv().replace("\n45.0\n", "\nforty-five\n"), r"data\.csv, row 31, column x: expected a number"),
        (csv().replace("\n45.0\n", "\n45.0,1\n"), r"data\.csv, row 31"),
        (csv(), "expected at least 99 calibration records, got 60"),
    ],
    ids=[
        "no file",
        "empty file",
        "no rows",
        "one row",
        "too few rows",
        "only nulls",
        "a type that changes half way",
        "ragged",
        "too few for alpha",
    ],
)
def test_records_that_nothing_can_be_learned_from_are_refused_in_one_line(refused, content, said):
    assert re.search(said, refused(content))


def test_a_type_that_changes_half_way_is_refused_in_json_too(refused):
    lines = [json.dumps({"x": i * 1.5 if i < 200 else "late"}) for i in range(201)]
    assert "data.ndjson, row 201, column x: expected a number" in refused("\n".join(lines), name="data.ndjson")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("[fit]\nsteps = 10\nlaerning_rate = 0.1\n", "fit.laerning_rate: unknown setting.*learning_rate"),
        ("[fti]\nsteps = 10\n", "fti: unknown setting"),
        ("[fit]\nsteps = 'many'\n", "fit.steps: expected"),
        ("[fit\n", "expected TOML"),
        ("[columns.y]\nkind = 'numeric'\n", 'columns."y": expected a column of the records'),
        ("[calibration]\nalpha = 1.5\n", "calibration.alpha: expected"),
    ],
)
def test_settings_that_are_wrong_are_refused_in_one_line(refused, tmp_path, settings, said):
    path = tmp_path / "train.toml"
    path.write_text(settings)
    assert re.search(said, refused(csv(), "--config", path))


def test_a_settings_file_that_is_not_there_is_refused(refused, tmp_path):
    assert "absent.toml: cannot be read" in refused(csv(), "--config", tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--alpha", "0.01"], "alpha = 0.01: expected at least 99 calibration records, got 60"),
        (["--alpha", "1e-320"], "calibration records, got 60"),
        (["--alpha", "0"], "calibration.alpha: expected"),
        (["--alpha", "nan"], "calibration.alpha: expected"),
        (["--seed", "-1"], "fit.seed: expected"),
        (["--time-column", "when"], "data.time_column: expected a column of the records"),
        (["--name", ""], "export.model_name: expected"),
    ],
)
def test_arguments_that_do_not_fit_the_records_are_refused_in_one_line(refused, arguments, said):
    assert said in refused(csv(), *arguments)


def test_an_existing_model_is_left_alone_when_training_fails(run_train, tmp_path, capsys):
    (tmp_path / "model.onnx").write_bytes(b"the model before")
    (tmp_path / "data.csv").write_text(csv())
    assert run_train(tmp_path / "data.csv", "-o", tmp_path / "model.onnx") == 1
    assert (tmp_path / "model.onnx").read_bytes() == b"the model before"


def test_a_key_outside_its_section_is_reported_with_the_right_section(refused, tmp_path):
    settings = tmp_path / "train.toml"
    settings.write_text("alpha = 0.1\n")
    assert "calibration.alpha" in refused(csv(), "--config", settings)


class StoppedBeforeTheFit(Progress):
    """A display at which someone presses Ctrl-C when the columns are planned."""

    def checks(self, schema: Schema, dropped: Sequence[DroppedCheck]) -> None:
        super().checks(schema, dropped)
        raise KeyboardInterrupt


def test_records_in_an_envelope_and_lines_of_totals_are_named(tmp_path, capsys):
    rows = [{"country": "DE" if at % 3 else "FR", "amount": at + 0.5} for at in range(120)]
    lines = [json.dumps({"payload": {"before": None, "after": row, "op": "c", "ts_ms": 1}}) for row in rows]
    (tmp_path / "changes.ndjson").write_text("\n".join(lines))
    cells = "".join(f"{row['country']},{row['amount']}\n" for row in rows)
    (tmp_path / "payload.csv").write_text(f"payload.country,payload.amount\n{cells}Total,7200.0\n")
    printed = []
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(KeyboardInterrupt):
            train(path, tmp_path / "m.onnx", TrainConfig(), StoppedBeforeTheFit(Console(width=1000)))
        printed.append(capsys.readouterr().out)
    assert "VAEGIS_UNWRAP=/payload/after" in printed[0]
    assert "payload.csv, row 121 seems to hold totals" in printed[1]
    assert "VAEGIS_UNWRAP" not in printed[1]


def test_a_category_of_a_million_values_is_counted_within_bounds(tmp_path):
    values = pa.array(np.arange(1_000_000)).cast(pa.string())
    pq.write_table(pa.table({"key": pc.binary_join_element_wise("key", values, "-")}), tmp_path / "keys.parquet")
    config = TrainConfig()
    profile, _ = profile_and_sample(open_records(tmp_path / "keys.parquet"), config, np.random.default_rng(0))
    (plan,) = plan_columns(profile, config)
    assert "too varied: at least 50000 values" in plan.reason


def test_an_interrupt_before_the_first_epoch_ends_with_exit_code_130(tmp_path):
    (tmp_path / "data.csv").write_text(csv())
    interrupting = (
        "import signal, sys; from vaegis.training import cli, train\n"
        "train.fit = lambda *_: signal.raise_signal(signal.SIGINT)\n"
        f"sys.exit(cli.main([{str(tmp_path / 'data.csv')!r}, '-o', {str(tmp_path / 'm.onnx')!r}, '--alpha', '0.2']))"
    )
    ended = subprocess.run([sys.executable, "-c", interrupting], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert ended.stderr == "vaegis-train: interrupted\n"
    assert not (tmp_path / "m.onnx").exists()
