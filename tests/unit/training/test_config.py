from __future__ import annotations

import os
import re

import pytest

from vaegis.training.config import TrainConfig, load_config, setting_rows, settings_table, with_overrides
from vaegis.training.errors import ConfigError

pytestmark = pytest.mark.training


@pytest.fixture
def load(tmp_path):
    def from_text(text: str | bytes) -> TrainConfig:
        path = tmp_path / "train.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path)

    return from_text


def test_the_document_holds_the_table_that_the_settings_make(pytestconfig):
    document = pytestconfig.rootpath / "docs" / "training-settings.md"
    assert settings_table() in document.read_text(encoding="utf-8")


def test_every_row_of_the_table_has_as_many_cells_as_its_header():
    cells = [len(re.split(r"(?<!\\)\|", line)) for line in settings_table().splitlines()]
    assert set(cells) == {6}  # four, between the bars at both ends


def test_the_example_in_the_document_is_a_valid_file(pytestconfig, load):
    document = (pytestconfig.rootpath / "docs" / "training-settings.md").read_text(encoding="utf-8")
    assert load(document.split("```toml\n")[1].split("```")[0]).calibration.alpha == 0.005


def test_without_a_file_every_setting_has_its_default():
    assert load_config(None) == TrainConfig()


def test_an_empty_file_changes_nothing(load):
    assert load("") == TrainConfig()


def test_a_file_sets_what_it_names(load):
    config = load('[fit]\nseed = 7\nbeta = 1\n[columns."shop.id"]\nkind = "ignore"\n[data]\ntime_column = "t"\n')
    assert (config.fit.seed, config.fit.beta, config.data.time_column) == (7, 1.0, "t")
    assert config.columns["shop.id"].kind == "ignore"
    assert config.splits == TrainConfig().splits


def test_a_file_may_begin_with_a_byte_order_mark(load):
    assert load("\ufefffit.seed = 7\n").fit.seed == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[fit]\nsed = 3", r"fit\.sed: unknown setting; the nearest is seed"),
        ("[fitt]\nseed = 3", r"fitt: unknown setting; the nearest is fit"),
        ('[fit]\ncolumns.a.kind = "text"', r"fit\.columns: unknown setting; write lines that begin with columns above"),
        ("[columns.a]\nfit.seed = 7", r"columns\.a\.fit: unknown setting; write lines that begin with fit above the"),
        ('[columns.a]\nkind = "number"', r"columns\.a\.kind: expected 'numeric', 'boolean'.* got 'number'"),
        ('[columns.a]\nkind = "numeric"\nknd = 1', r"columns\.a\.knd: .* the nearest is kind"),
        ('[columns.a]\nformat = "dd.mm.yyyy"', r"columns\.a\.format: expected codes of strptime"),
        ('[columns.a]\nformat = "%Q"', r"columns\.a\.format: expected codes of strptime"),
        ('[fit]\nseed = "x"', r"fit\.seed: expected a whole number, got 'x'"),
        ("[fit]\nseed = true", r"fit\.seed: expected a whole number, got True"),
        ("[calibration]\nalpha = 1.5", r"calibration\.alpha: expected less than 1, got 1\.5"),
        ("[calibration]\nalpha = nan", r"calibration\.alpha: expected"),
        ("[splits]\ncalibration_share = 1.0", r"splits\.calibration_share: expected less than 1, got 1\.0"),
        ('[splits]\nmethod = "jackknife"', r"splits\.method: expected 'auto', 'split' or 'cross', got 'jackknife'"),
        ("[splits]\nfolds = 1", r"splits\.folds: expected at least 2, got 1"),
        ("[splits]\nvalidation_share = 0.1", r"splits\.validation_share: unknown setting"),
        ("[fit]\ndraws = 3", r"fit\.draws: expected a multiple of 2, got 3"),
        ("fit = 3", r"fit: expected"),
        ("[fit", r"expected TOML"),
        ('columns.unit price.kind = "text"', r"expected TOML.*stands in quotes, as in columns\.\"unit price\"\.kind"),
        (b"\xff", r"expected UTF-8"),
    ],
)
def test_a_bad_file_stops_with_its_name_and_the_key(load, text, message):
    with pytest.raises(ConfigError, match=rf"train\.toml: {message}"):
        load(text)


def test_a_file_that_is_not_there_is_reported(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_reported(tmp_path):
    path = tmp_path / "train.toml"
    path.touch(mode=0)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)


def test_every_setting_has_a_row_with_default_range_and_help():
    rows = {row.name: row for row in setting_rows()}
    sections = {name.split(".")[0] for name in rows}
    assert sections == set(TrainConfig.model_fields)
    assert all(row.default and row.range and row.help.endswith(".") for row in rows.values())
    assert rows["calibration.alpha"].default == "0.01"
    assert rows["calibration.alpha"].range == "above 0.0, below 1.0"
    assert rows["data.time_column"].default == "none"
    assert rows['columns."name".kind'].range == "numeric, boolean, categorical, timestamp, text, ignore"


def test_every_default_passes_its_own_check():
    config = TrainConfig()
    assert TrainConfig.model_validate(config.model_dump()) == config


def test_overrides_replace_what_they_name_and_are_checked():
    config = with_overrides(TrainConfig(), {"fit.seed": 7, "calibration.alpha": None})
    assert config.fit.seed == 7
    assert config.calibration == TrainConfig().calibration
    with pytest.raises(ConfigError, match=r"calibration\.alpha: expected less than 1, got 2\.0"):
        with_overrides(TrainConfig(), {"calibration.alpha": 2.0})
