"""`vaegis.train`: records in memory give the model that the same records in a file give."""

from __future__ import annotations

import tomllib

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import vaegis


@pytest.fixture(scope="module")
def settings(trained) -> dict[str, object]:
    """Return the settings that the command was given, in its file and by its flags."""
    settings = tomllib.loads(trained.settings.read_text())
    return settings | {"fit": settings["fit"] | {"seed": 5}, "export": {"model_name": "machine"}}


@pytest.fixture(scope="module")
def table(trained) -> pa.Table:
    return pq.read_table(trained.data)


@pytest.fixture(scope="module")
def of_command(trained) -> vaegis.Model:
    return vaegis.load(trained.model)


@pytest.mark.parametrize(
    "convert",
    [lambda data: data.to_reader(max_chunksize=100), pl.from_arrow, lambda data: data.to_pylist()],
    ids=["a stream", "polars", "dicts"],
)
def test_records_in_memory_give_the_model_that_the_command_makes_of_their_file(
    of_command, table, settings, tmp_path, convert
):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    model = vaegis.train(convert(table), settings, output=tmp_path / "model.onnx")
    assert (model.name, model.artifact.contract.provenance.sources) == ("machine", ("data",))
    assert (model.columns, model.alpha) == (of_command.columns, 0.05)
    np.testing.assert_allclose(model.score(table).score, of_command.score(table).score, rtol=1e-5, atol=1e-5)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_file_and_a_file_of_settings_are_taken_by_path_and_only_what_is_asked_for_is_printed(
    of_command, trained, table, tmp_path, capsys
):
    model = vaegis.train(str(trained.data), trained.settings, output=str(tmp_path / "quiet.onnx"))
    assert capsys.readouterr().out == ""
    assert (model.name, model.artifact.contract.provenance.sources) == ("quiet", ("readings.parquet",))
    assert model.columns == of_command.columns
    frame = table.to_pandas().set_index("taken_at")
    model = vaegis.train(frame, trained.settings, output=tmp_path / "told.onnx", verbose=True)
    assert "temperature" in capsys.readouterr().out
    assert set(model.columns) == set(of_command.columns)
    assert model.score(frame).score.tolist() == model.score(table).score.tolist()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([], vaegis.TrainingError, "data: expected records, got none"),
        ([{"a": 1}, {"a": "x"}], vaegis.TrainingError, "data, column a: expected values of one type, got several"),
        (pd.DataFrame({"a": [1, "x"]}), vaegis.TrainingError, "data, column a: expected values of one type"),
        ([{"a": 1}, 5], TypeError, "expected a list of dicts, got int at 1"),
        (5, TypeError, "expected a path, a list of dicts, an Arrow table or a frame, got int"),
        ("absent.csv", vaegis.ServiceError, "absent.csv: no such file"),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused(data, error, message, tmp_path):
    with pytest.raises(error, match=message):
        vaegis.train(data, output=tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_column_may_hold_values_of_several_types(tmp_path):
    records = [{"a": at % 7, "b": value} for at in range(99) for value in (5, "x", {"c": 1})]
    settings = {"columns": {"b": {"kind": "ignore"}}, "fit": {"steps": 1}}
    for data in (records, pd.DataFrame(records)):
        model = vaegis.train(data, settings, output=tmp_path / "model.onnx")
        assert model.columns == {"a": "numeric"}
        assert len(model.score(data).score) == len(records)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"fit": {"stepps": 1}}, vaegis.TrainingError, "fit.stepps: unknown setting"),
        ({"fit": {"steps": 0}}, vaegis.TrainingError, "fit.steps: expected at least 1, got 0"),
        ("absent.toml", vaegis.TrainingError, "absent.toml: cannot be read"),
        (5, TypeError, "settings: expected a dict of tables, or the path of a train.toml, got int"),
    ],
)
def test_settings_that_are_wrong_are_refused(table, settings, error, message, tmp_path):
    with pytest.raises(error, match=message):
        vaegis.train(table, settings, output=tmp_path / "model.onnx")
