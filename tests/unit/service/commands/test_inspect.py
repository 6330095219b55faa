"""`vaegis inspect`."""

from __future__ import annotations

import json

from vaegis.service.artifact import load_artifact
from vaegis.service.commands.inspect import _aligned, _statistics
from vaegis.service.contract import BooleanColumn, CategoricalColumn, TimestampColumn


def test_tables_show_every_column_and_the_calibration(vaegis, golden_model):
    artifact = load_artifact(golden_model)
    ended = vaegis("inspect", golden_model)
    lines = [line.split() for line in ended.out.splitlines()]
    assert ended.code == 0
    for column in artifact.contract.columns.columns:
        assert any(line[:2] == [column.name, column.kind] for line in lines)
    assert ["digest", f"sha256:{artifact.digest}"] in lines
    assert ["records", f"{artifact.contract.calibration.records:,}"] in lines
    assert any(line[:4] == ["guarantee", "At", "alpha", "0.01,"] for line in lines)
    assert ["size", f"{artifact.size_bytes:,}", "bytes"] in lines


def test_json_is_one_document_without_weights_and_scores(vaegis, golden_model):
    artifact = load_artifact(golden_model)
    ended = vaegis("inspect", golden_model, "--json")
    document = json.loads(ended.out)
    assert document["model"] == artifact.contract.provenance.model_name
    assert document["model_digest"] == f"sha256:{artifact.digest}"
    assert [c["name"] for c in document["schema"]["columns"]] == list(artifact.contract.columns.names)
    assert document["calibration"]["records"] == artifact.contract.calibration.records
    assert document["calibration"]["folds"] == len(artifact.calibration_folds)
    assert "model" not in document["generator"]


def test_columns_of_a_table_begin_at_the_same_place():
    assert list(_aligned([("a", "bb"), ("ccc", "d")])) == ["a    bb", "ccc  d"]


def test_control_characters_of_a_file_do_not_reach_the_terminal():
    assert list(_aligned([("a\x1b[2J\n", "ü")])) == ["a\\x1b[2J\\n  ü"]


def test_statistics_name_the_commonest_categories_first():
    column = CategoricalColumn(
        name="c", missing_share=0.0, categories=("a", "b", "c", "d"), shares=(0.1, 0.6, 0.1, 0.2)
    )
    assert _statistics(column) == "4 categories: b 60.00%, d 20.00%, a 10.00%, ..."


def test_statistics_of_booleans_and_instants_are_in_words():
    assert _statistics(BooleanColumn(name="b", missing_share=0.0, true_share=0.25)) == "25.00% true"
    day = TimestampColumn(name="t", missing_share=0.0, earliest=0.0, latest=1e300)
    assert _statistics(day) == "1970-01-01T00:00:00+00:00 to 1e+300 s"


def test_a_missing_file_ends_with_exit_code_3(vaegis, tmp_path):
    ended = vaegis("inspect", tmp_path / "none.onnx")
    assert ended.code == 3
    assert ended.err == f"vaegis: error: {tmp_path}/none.onnx: cannot be read: No such file or directory\n"
