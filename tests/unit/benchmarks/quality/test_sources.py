"""The key of a row follows what the row depends on."""

import pytest

from benchmarks.quality import sources
from benchmarks.quality.sources import row_key
from vaegis.training.config import TrainConfig, with_overrides

pytestmark = pytest.mark.training


def test_the_same_code_settings_and_data_give_the_same_key(tmp_path):
    assert row_key(TrainConfig(), tmp_path) == row_key(TrainConfig(), tmp_path)


def test_other_settings_data_or_libraries_give_another(tmp_path, monkeypatch):
    key = row_key(TrainConfig(), tmp_path)
    assert row_key(with_overrides(TrainConfig(), {"fit.seed": 1}), tmp_path) != key
    assert row_key(TrainConfig(), tmp_path / "other") != key
    monkeypatch.setattr(sources, "library_versions", lambda: {"torch": "0.1"})
    assert row_key(TrainConfig(), tmp_path) != key


def test_a_changed_source_gives_another(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    for name in sources._MEASURING:
        path = tmp_path / "benchmarks" / "quality" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    changed = tmp_path / "training" / "model" / "vae.py"
    changed.parent.mkdir(parents=True)
    changed.write_text("beta = 0.1\n")
    key = row_key(TrainConfig(), tmp_path)
    changed.write_text("beta = 0.2\n")
    assert row_key(TrainConfig(), tmp_path) != key


def test_every_module_that_measures_is_there():
    assert all(path.is_file() for path in sources._sources())
