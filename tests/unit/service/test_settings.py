"""Settings: where values come from, what is refused, and that all are documented."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings, SettingsError, described_settings, load_settings, settings_table
from service.verdicts import Explain

DOCUMENT = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_document_holds_the_table_that_the_settings_make():
    assert settings_table() in DOCUMENT.read_text(encoding="utf-8")


def test_every_setting_has_a_default_a_range_and_one_line_of_help():
    described = list(described_settings())
    assert [name for name, *_ in described] == list(Settings.model_fields)
    for _, default, _, allowed, meaning in described:
        assert default
        assert allowed
        assert meaning.endswith(".")
        assert "\n" not in meaning


def test_defaults_are_within_their_own_ranges():
    defaults = load_settings({}, {})
    assert Settings.model_validate(defaults.model_dump()) == defaults


def test_flags_go_before_variables_and_variables_before_defaults():
    environment = {"VAEGIS_PORT": "81", "VAEGIS_MAX_RECORDS": "7"}
    settings = load_settings(environment, {"port": "82", "max_records": None})
    assert (settings.port, settings.max_records, settings.host) == (82, 7, "127.0.0.1")


def test_variables_without_the_prefix_are_not_looked_at():
    assert load_settings({"PORT": "x", "VAEGISPORT": "x", "PATH": "/bin"}, {}) == load_settings({}, {})


def test_an_empty_variable_counts_as_unset():
    assert load_settings({"VAEGIS_ALPHA": "", "VAEGIS_COLOUR": ""}, {}).alpha is None


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("VAEGIS_MAX_RECORD", "VAEGIS_MAX_RECORDS"),
        ("VAEGIS_MAXBODYBYTES", "VAEGIS_MAX_BODY_BYTES"),
        ("VAEGIS_port", "VAEGIS_PORT"),
        ("VAEGIS_LOGLEVEL", "VAEGIS_LOG_LEVEL"),
    ],
)
def test_an_unknown_variable_stops_with_the_nearest_name(variable, nearest):
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: "1"}, {})
    assert str(caught.value) == (
        f"{variable}: expected a setting of docs/settings.md, got none; the nearest is {nearest}"
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("VAEGIS_PORT", "70000", "VAEGIS_PORT: expected less than or equal to 65535, got '70000'"),
        (
            "VAEGIS_PORT",
            "http",
            "VAEGIS_PORT: expected a valid integer, unable to parse string as an integer, got 'http'",
        ),
        ("VAEGIS_ALPHA", "2", "VAEGIS_ALPHA: expected less than or equal to 0.999, got '2'"),
        ("VAEGIS_ALPHA", "nan", "VAEGIS_ALPHA: expected a finite number, got 'nan'"),
        ("VAEGIS_EXPLAIN", "some", "VAEGIS_EXPLAIN: expected 'none', 'anomalies' or 'all', got 'some'"),
    ],
)
def test_a_bad_value_stops_with_what_was_expected(variable, value, message):
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: value}, {})
    assert str(caught.value) == message


def test_a_bad_flag_is_named_as_a_flag():
    with pytest.raises(SettingsError, match=r"^--max-body-bytes: expected greater than or equal to 1024, got '1'$"):
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
    allowed = next(allowed for name, _, _, allowed, _ in described_settings() if name == "explain")
    assert allowed.split() == [choice.value for choice in Explain]
