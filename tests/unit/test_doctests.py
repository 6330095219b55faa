"""The examples in docstrings and in the page on Python, run as they stand, beside the golden model as `model.onnx`."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import shutil
from pathlib import Path

import pytest

import vaegis

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
PACKAGE = Path(vaegis.__file__).parent
FOLDERS = ["service", "training"] if importlib.util.find_spec("torch") else ["service"]


def modules_with_examples() -> list[str]:
    paths = [
        path for folder in FOLDERS for path in sorted((PACKAGE / folder).rglob("*.py")) if ">>> " in path.read_text()
    ]
    return ["vaegis", *(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths)]


@pytest.fixture
def beside_the_model(golden_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copy(golden_model, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("beside_the_model")
@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_in_docstrings_give_what_they_show(name: str):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.usefixtures("beside_the_model")
def test_the_examples_on_the_page_of_python_give_what_they_show():
    result = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8")
    assert result.attempted > 10
    assert result.failed == 0
