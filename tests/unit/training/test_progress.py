from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from rich.console import Console

from vaegis.service.contract import Calibration
from vaegis.service.files.batches import FileBatch
from vaegis.training.config import TrainConfig
from vaegis.training.data.kinds import plan_columns
from vaegis.training.data.profiling.profile import Profiler
from vaegis.training.data.row_location import RowLocation
from vaegis.training.data.sampling import Sample
from vaegis.training.data.schema import build_schema
from vaegis.training.data.splits import Splits
from vaegis.training.fit import Epoch, Fitted
from vaegis.training.progress import Progress

pytestmark = pytest.mark.training


def schema_of(table, profile, config):
    """Return the schema of a table all of whose records are fitted."""
    sample = Sample(table, np.arange(table.num_rows), ((0, RowLocation(Path("f"), 1)),))
    return build_schema(plan_columns(profile, config), sample, np.arange(table.num_rows), max_categories=9)


@pytest.fixture
def shown() -> tuple[Progress, io.StringIO]:
    """A progress display that writes to a text, as wide as any line."""
    text = io.StringIO()
    return Progress(Console(file=text, width=300)), text


def test_reading_shows_how_many_records_came(shown):
    progress, text = shown
    with progress.reading(5 * 2**20) as on_batch:
        on_batch(1000)
        on_batch(2500)
    assert "reading 5.0 MiB" in text.getvalue()
    assert "2,500 records" in text.getvalue()


def test_each_column_is_listed_with_its_kind_its_reason_and_what_is_wrong_in_it(shown):
    table = pa.table(
        {
            "amount": [1.0, float("inf"), 2.5, None],
            "[id]": [f"key-{i}" for i in range(4)],
            "mode": ["a", "inf", "a", "a"],
        }
    )
    profiler = Profiler(is_text=False, max_distinct=100)
    (batch,) = table.to_batches()
    profiler.add(FileBatch(batch, Path("f"), 1))
    profile = profiler.finish()
    settings = TrainConfig.model_validate({"columns": {"[id]": {"kind": "ignore"}}})
    progress, text = shown
    progress.columns(profile, schema_of(table, profile, settings))
    lines = {line.split()[0]: line for line in text.getvalue().splitlines()}
    assert "numeric" in lines["amount"]
    assert "25.0%" in lines["amount"]
    assert "25.0%  1 " in lines["amount"]
    assert "1 to 2.5" in lines["amount"]
    assert "ignored" in lines["[id]"]  # a name in brackets is a name, not markup
    assert "set in train.toml" in lines["[id]"]
    assert lines["mode"].split()[:3] == ["mode", "categorical", "text:"]  # inf is no number here


def test_times_that_the_settings_make_nulls_count_as_nulls(shown):
    never = datetime(9999, 12, 31, tzinfo=UTC)
    times = [datetime(2024, 3, 1, hour, tzinfo=UTC) for hour in range(3)]
    table = pa.table({"until": pa.array([*times, never], pa.timestamp("us", "UTC"))})
    profiler = Profiler(is_text=False, max_distinct=100)
    profiler.add(FileBatch(table.to_batches()[0], Path("f"), 1))
    profile = profiler.finish()
    settings = TrainConfig.model_validate({"columns": {"until": {"null_values": ["9999-12-31"]}}})
    progress, text = shown
    progress.columns(profile, schema_of(table, profile, settings))
    assert text.getvalue().splitlines()[1].split()[:3] == ["until", "timestamp", "25.0%"]


TWO_PARTS = Splits("split-conformal", np.arange(20)[None], (np.arange(20, 30),))
THREE_FOLDS = Splits("cross-conformal", np.arange(60).reshape(3, 20), tuple(np.arange(10) for _ in range(3)))


@pytest.mark.parametrize(
    ("read", "splits", "line"),
    [
        (30, TWO_PARTS, "30 records: 20 fit, 10 calibration"),
        (3000, TWO_PARTS, "3,000 records, a sample of 30 kept: 20 fit, 10 calibration"),
        (
            30,
            replace(TWO_PARTS, undated=2),
            "30 records: 20 fit, 10 calibration (2 without a time are split like the others)",
        ),
        (30, THREE_FOLDS, "30 records: 3 models, each fitted to 20 and calibrated by the rest"),
    ],
)
def test_splits_are_reported_with_their_sizes(shown, read, splits, line):
    progress, text = shown
    progress.splits(read, splits)
    assert text.getvalue().strip() == line


def test_names_and_paths_are_escaped_on_the_terminal(shown):
    progress, text = shown
    profiler = Profiler(is_text=False, max_distinct=100)
    number = pa.array([1, 2])
    # Columns of this type are ignored, and the reason names the type, which contains the name of its field.
    nested = pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [number], field_names=["\x1b[31m"])
    batch = pa.record_batch({"a\x1b[2J\nb": [1.5, 2.5], "tags": nested})
    profiler.add(FileBatch(batch, Path("f"), 1))
    profile = profiler.finish()
    progress.columns(profile, schema_of(pa.Table.from_batches([batch]), profile, TrainConfig()))
    progress.left_out([RowLocation(Path("odd\x1b[2J.csv"), 3)])
    assert "a\\x1b[2J\\nb" in text.getvalue()
    assert "\\x1b[31m" in text.getvalue()
    assert "row 3 of odd\\x1b[2J.csv" in text.getvalue()
    assert "\x1b" not in text.getvalue()


def test_epochs_are_shown_with_their_losses(shown):
    progress, text = shown
    with progress.fitting() as on_epoch:
        on_epoch(Epoch(1, 7, 9.5))
        on_epoch(Epoch(2, 7, 8.75))
    assert "epoch 2/7 loss 8.75 nats" in text.getvalue()


@pytest.mark.parametrize("note", ['set columns.a.kind = "text" in train.toml', "12 lines are skipped."])
def test_where_settings_stand_is_said_once_if_a_note_names_some(shown, note):
    progress, text = shown
    progress.notes([note, note])
    printed = " ".join(text.getvalue().split())
    assert printed.count(note) == 2
    assert printed.count("train.toml is read if --config names it") == ("train.toml" in note)


def test_records_left_out_are_counted_and_the_first_are_named(shown):
    progress, text = shown
    progress.left_out([])
    assert text.getvalue() == ""
    progress.left_out([*(RowLocation(Path("a.csv"), row) for row in (3, 4)), *[RowLocation(Path("b.csv"), 7)] * 2])
    assert "4 records least like the others (rows 3, 4 of a.csv; row 7 of b.csv, ...)" in text.getvalue()


def test_a_stage_is_named(shown):
    progress, text = shown
    with progress.stage("exporting the graph"):
        pass
    assert "exporting the graph" in text.getvalue()


def test_an_error_within_a_stage_passes_through(shown):
    progress, _ = shown
    with pytest.raises(KeyboardInterrupt), progress.stage("exporting"):
        raise KeyboardInterrupt


SCORES = tuple(float(i) for i in range(99))


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize(
    ("calibration", "promise"),
    [
        (
            Calibration(method="split-conformal", alpha=0.1, folds=(SCORES,), tie_tolerance=0.0),
            "at most 10%, as long as normal data stay what they were in training. That is an average over models.",
        ),
        (
            Calibration(method="cross-conformal", alpha=0.1, folds=(SCORES[:50], SCORES[50:]), tie_tolerance=0.0),
            "flagged with a probability of at most 21.8% (proven; close to 10% in practice), as long as",
        ),
    ],
    ids=["split", "cross"],
)
def test_the_end_names_file_guarantee_and_interruption(shown, prepared, tmp_path, calibration, promise, interrupted):
    path = tmp_path / "[new] model.onnx"
    path.write_bytes(bytes(2**20))
    nothing = torch.zeros((1, 1, 3))
    fitted = Fitted(prepared.model(), nothing, nothing[0], epochs=4, loss=0.0, left_out=[], interrupted=interrupted)
    progress, text = shown
    progress.done(path, calibration, fitted)
    output = text.getvalue()
    assert f"{path}: 1.0 MiB, {calibration.method} with 99 calibration records" in output
    assert promise in " ".join(output.split())
    assert ("interrupted after epoch 4: the model so far is kept" in output) is interrupted
    assert "The threshold is" not in output


def test_the_end_warns_of_a_threshold_that_anomalies_in_the_history_may_have_set(shown, prepared, tmp_path):
    path = tmp_path / "model.onnx"
    path.touch()
    nothing = torch.zeros((1, 1, 3))
    fitted = Fitted(prepared.model(), nothing, nothing[0], epochs=4, loss=0.0, left_out=[], interrupted=False)
    scores = (*([1.0] * 97), 500.0, 600.0, 700.0)
    progress, text = shown
    progress.done(path, Calibration(method="split-conformal", alpha=0.02, folds=(scores,), tie_tolerance=0.0), fitted)
    assert "The threshold is 600, although nine in ten calibration records score below 1." in text.getvalue()
    assert "If more than 2% of the history are anomalies" in text.getvalue()
