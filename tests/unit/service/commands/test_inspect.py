"""`vaegis inspect`."""

from __future__ import annotations

import json

from vaegis.service.artifact import load_artifact
from vaegis.service.commands.inspect import _aligned


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
    assert "an identifier that repeats" in " ".join(ended.out.split())


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


def test_a_missing_file_ends_with_exit_code_3(vaegis, tmp_path):
    ended = vaegis("inspect", tmp_path / "none.onnx")
    assert ended.code == 3
    assert ended.err == f"vaegis: error: {tmp_path}/none.onnx: cannot be read: No such file or directory\n"
