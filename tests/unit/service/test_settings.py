"""Settings: where values come from, what is refused, and that all are documented."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from vaegis.service.errors import SettingsError
from vaegis.service.settings import Settings, described_settings, load_settings, settings_tables
from vaegis.service.verdicts import Explain

DOCUMENT = Path(__file__).parents[3] / "docs" / "settings.md"


def test_document_holds_the_tables_that_the_settings_make():
    assert settings_tables() in DOCUMENT.read_text(encoding="utf-8")


def test_every_setting_has_a_default_a_range_and_one_line_of_help():
    described = list(described_settings())
    assert [setting.name for setting in described] == list(Settings.model_fields)
    for setting in described:
        assert setting.group
        assert setting.default
        assert setting.allowed
        assert setting.meaning.endswith(".")
        assert "\n" not in setting.meaning


def test_defaults_are_within_their_own_ranges():
    defaults = load_settings({}, {})
    assert Settings.model_validate(defaults.model_dump()) == defaults


def test_flags_go_before_variables_and_variables_before_defaults():
    environment = {"VAEGIS_PORT": "81", "VAEGIS_MAX_RECORDS": "7"}
    settings = load_settings(environment, {"port": "82", "max_records": None})
    assert (settings.port, settings.max_records, settings.host) == (82, 7, "localhost")


def test_variables_without_the_prefix_are_not_looked_at():
    assert load_settings({"PORT": "x", "VAEGISPORT": "x", "PATH": "/bin"}, {}) == load_settings({}, {})


def test_an_empty_variable_counts_as_unset():
    assert load_settings({"VAEGIS_ALPHA": "", "VAEGIS_COLOUR": ""}, {}).alpha is None


@pytest.fixture
def load_file(tmp_path):
    def load(text: str | bytes, environment: dict[str, str] | None = None, **flags: object) -> Settings:
        path = tmp_path / "vaegis.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_settings(environment or {}, flags, path)

    return load


def test_variables_go_before_the_file_and_the_file_before_defaults(load_file):
    settings = load_file("port = 81\nmax_records = 7\nalpha = 1e-2", {"VAEGIS_MAX_RECORDS": "8"}, port="82")
    assert (settings.port, settings.max_records, settings.alpha) == (82, 8, 0.01)
    assert settings.host == "localhost"


def test_the_file_can_be_named_by_a_variable_which_a_flag_overrides(tmp_path):
    for name, port in (("a.toml", 81), ("b.toml", 82)):
        (tmp_path / name).write_text(f"port = {port}")
    environment = {"VAEGIS_CONFIG": str(tmp_path / "a.toml")}
    assert load_settings(environment, {}).port == 81
    assert load_settings(environment, {}, tmp_path / "b.toml").port == 82


def test_every_setting_can_stand_in_the_file(load_file):
    defaults = load_settings({}, {})
    given = {name: value for name, value in defaults.model_dump().items() if value is not None}
    assert load_file("".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items())) == defaults


def test_the_example_in_the_document_is_a_valid_file(load_file):
    assert load_file(DOCUMENT.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]).alpha == 0.005


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_record = 1", r"max_record: unknown setting; the nearest is max_records\. docs/settings\.md lists all"),
        ("PORT = 1", r"PORT: unknown setting; the nearest is port\."),
        ("keys = 'a score sha256:0'", r"keys: not allowed in a file; set VAEGIS_KEYS instead"),
        ("config = 'x'", r"config: unknown setting"),
        ("port = 70000", r"port: expected at most 65535, got 70000"),
        ("port = 1.5", r"port: expected a whole number, got 1\.5"),
        ("max_records = true", r"max_records: expected a whole number, got 'true'"),
        ("alpha = nan", r"alpha: expected a finite number, got nan"),
        ("host = 5", r"host: expected text, got 5"),
        ("port = 2024-05-05", r"port: expected a whole number, got datetime\.date"),
        ("[serve]\nport = 1", r"serve: expected one value, got a table"),
        ("port = [1]", r"port: expected one value, got a list"),
        ("port = ", r"expected TOML, got: Invalid value"),
        (b"host = '\xff'", r"expected UTF-8, got an invalid byte at 8"),
        (f"{'x' * 500} = 1", r"x{77}\.\.\.: unknown setting"),
    ],
)
def test_a_bad_file_stops_with_its_name_and_the_key(load_file, tmp_path, text, message):
    with pytest.raises(SettingsError, match=f"^{re.escape(str(tmp_path / 'vaegis.toml'))}: {message}"):
        load_file(text)


def test_a_file_that_is_not_there_stops_with_its_name(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: No such file or directory"):
        load_settings({"VAEGIS_CONFIG": str(tmp_path / "none.toml")}, {})


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("VAEGIS_CONFG", "VAEGIS_CONFIG"),
        ("VAEGIS_MAX_RECORD", "VAEGIS_MAX_RECORDS"),
        ("VAEGIS_MAXBODYBYTES", "VAEGIS_MAX_BODY_BYTES"),
        ("VAEGIS_port", "VAEGIS_PORT"),
        ("VAEGIS_LOGLEVEL", "VAEGIS_LOG_LEVEL"),
    ],
)
def test_an_unknown_variable_stops_with_the_nearest_name(variable, nearest):
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: "1"}, {})
    assert str(caught.value) == f"{variable}: unknown setting; the nearest is {nearest}. docs/settings.md lists all"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("VAEGIS_PORT", "70000", "VAEGIS_PORT: expected at most 65535, got '70000'"),
        (
            "VAEGIS_PORT",
            "http",
            "VAEGIS_PORT: expected a whole number, got 'http'",
        ),
        ("VAEGIS_ALPHA", "2", "VAEGIS_ALPHA: expected at most 0.999, got '2'"),
        ("VAEGIS_ALPHA", "nan", "VAEGIS_ALPHA: expected a finite number, got 'nan'"),
        ("VAEGIS_EXPLAIN", "some", "VAEGIS_EXPLAIN: expected 'none', 'anomalies' or 'all', got 'some'"),
    ],
)
def test_a_bad_value_stops_with_what_was_expected(variable, value, message):
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: value}, {})
    assert str(caught.value) == message


def test_a_bad_flag_is_named_as_a_flag():
    with pytest.raises(SettingsError, match=r"^--max-body-bytes: expected at least 1024, got '1'$"):
        load_settings({}, {"max_body_bytes": "1"})


def test_what_kubernetes_sets_for_a_service_named_vaegis_is_passed_over():
    environment = {
        "VAEGIS_SERVICE_HOST": "10.0.0.1",
        "VAEGIS_SERVICE_PORT": "80",
        "VAEGIS_SERVICE_PORT_HTTP": "80",
        "VAEGIS_PORT": "tcp://10.0.0.1:80",
        "VAEGIS_PORT_80_TCP": "tcp://10.0.0.1:80",
        "VAEGIS_PORT_80_TCP_PROTO": "tcp",
        "VAEGIS_PORT_80_TCP_PORT": "80",
        "VAEGIS_PORT_80_TCP_ADDR": "10.0.0.1",
        "VAEGIS_CANARY_SERVICE_HOST": "10.0.0.2",
        "VAEGIS_CANARY_PORT": "tcp://10.0.0.2:80",
        "VAEGIS_CANARY_PORT_80_TCP": "tcp://10.0.0.2:80",
    }
    assert load_settings(environment, {}) == load_settings({}, {})


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_settings({}, {}).port = 1


def test_explanations_can_be_set_to_each_that_there_is():
    allowed = next(setting.allowed for setting in described_settings() if setting.name == "explain")
    assert allowed.split() == [choice.value for choice in Explain]
