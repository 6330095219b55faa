"""`vaegis report`."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("jinja2")


def test_the_page_is_written(vaegis, golden_model, tmp_path):
    path = tmp_path / "report.html"
    ended = vaegis("report", golden_model, "-o", path)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"report of orders, {path.stat().st_size:,} bytes, written to {path}\n"
    assert path.read_text("utf-8").startswith("<!doctype html>")


def test_a_dash_writes_to_standard_output(vaegis, golden_model, tmp_path):
    vaegis("report", golden_model, "-o", tmp_path / "report.html")
    assert vaegis("report", golden_model, "-o", "-").out == (tmp_path / "report.html").read_text("utf-8")


def test_the_model_is_never_replaced(vaegis, golden_model, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(golden_model.read_bytes())
    ended = vaegis("report", model, "-o", model)
    assert ended.code == 1
    assert "the output is the model itself" in ended.err
    assert model.read_bytes() == golden_model.read_bytes()


def test_a_file_that_is_no_model_leaves_no_page(vaegis, tmp_path):
    (tmp_path / "model.onnx").write_text("no model")
    ended = vaegis("report", tmp_path / "model.onnx", "-o", tmp_path / "report.html")
    assert ended.code == 3
    assert not (tmp_path / "report.html").exists()


def test_a_folder_is_no_place_for_a_page(vaegis, golden_model, tmp_path):
    ended = vaegis("report", golden_model, "-o", tmp_path)
    assert ended.code == 1
    assert "expected a file, got a directory" in ended.err


def test_without_jinja_the_extra_is_named(vaegis, golden_model, tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.startswith("vaegis.service.report")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    ended = vaegis("report", golden_model, "-o", tmp_path / "report.html")
    assert ended.code == 1
    assert "pip install 'vaegis[report]'" in ended.err
