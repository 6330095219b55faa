"""The settings of the service: names, units, defaults, ranges and help, and where their values come from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vaegis.service.errors import SettingsError
from vaegis.service.records.column_names import UnknownColumns, shown
from vaegis.service.settings_file import read_settings_file

ENVIRONMENT_PREFIX: Final = "VAEGIS_"
CONFIG_VARIABLE: Final = "VAEGIS_CONFIG"
"""Names the file of settings, where `--config` does not."""
ENVIRONMENT_ONLY: Final = frozenset({"keys"})
"""Settings without a flag, which every user of the machine could read, and without a key in the file of settings."""
TRUTH_VALUES: Final = "true false"
"""How the values of a setting that is a switch are shown."""

_LEAST_RUN_TIMEOUT_S: Final = 1.0

# Kubernetes gives each pod such variables for every Service of its namespace, and one may well be named vaegis.
_SERVICE_LINK: Final = re.compile(r"VAEGIS_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_.+)?)")
_SERVICE_LINK_PORT: Final = re.compile(r"VAEGIS_(.+_)?PORT")
_SERVICE_LINK_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")


def _setting(default: object, meaning: str, *, unit: str = "", ge: float | None = None, le: float | None = None) -> Any:  # noqa: ANN401 - so is Field
    """Return a field whose bounds, unit and help also make its flag and its row in the documentation."""
    return Field(default, ge=ge, le=le, description=meaning, json_schema_extra={"unit": unit}, validate_default=False)


class Settings(BaseModel):
    """What an operator can set, each by a flag of `vaegis serve` or by `VAEGIS_` and its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 for every interface, :: for IPv6 as well.")
    port: int = _setting(8080, "TCP port to listen on; 0 picks a free one.", ge=0, le=65535)
    workers: int | None = _setting(
        None,
        "Processes that answer requests; unset means one for each core that it may use, as far as the memory goes.",
        unit="processes",
        ge=1,
        le=256,
    )
    worker_timeout_s: float = _setting(
        30.0, "A worker that gives no sign of life for so long is replaced.", unit="s", ge=1, le=3600
    )
    model_digest: str | None = _setting(
        None, "Digest that the model must have, sha256: and 64 hexadecimal digits as `vaegis inspect` shows it."
    )
    model_public_key: Path | None = _setting(
        None, "File of an Ed25519 public key in PEM; the file of the model's name and .sig must be its signature by it."
    )
    model_timeout_s: float = _setting(
        60.0, "Longest time in which the model is loaded and its golden records are scored.", unit="s", ge=1, le=3600
    )
    tls_certificate: Path | None = _setting(
        None, "File of a certificate chain in PEM, to speak HTTPS; read again when it changes."
    )
    tls_key: Path | None = _setting(None, "File of the certificate's private key in PEM, without a password.")
    alpha: float | None = _setting(
        None,
        "Share of normal records that may be flagged, where a request does not say; unset means the model's own.",
        unit="share",
        ge=1e-9,
        le=0.999,
    )
    explain: Literal["none", "anomalies", "all"] = _setting(
        "anomalies", "Which records of an answer come with contributions, where a request does not say."
    )
    unknown_columns: UnknownColumns = _setting("reject", "What to do with columns that the model does not know.")
    max_body_bytes: int = _setting(
        64 * 2**20,
        "Longest request body, also when it is decompressed; `vaegis score` takes files of any length.",
        unit="bytes",
        ge=1024,
        le=2**30,
    )
    max_document_bytes: int = _setting(
        16 * 2**20,
        "Largest piece of a body that is parsed whole: a JSON document, a line of NDJSON, a record of CSV, a message "
        "of Arrow.",
        unit="bytes",
        ge=1024,
        le=2**30,
    )
    max_records: int = _setting(
        10_000, "Most records in one JSON document or V2 request.", unit="records", ge=1, le=1_000_000
    )
    max_columns: int = _setting(
        10_000, "Most columns of a header, parts of columns counted.", unit="columns", ge=1, le=1_000_000
    )
    max_values: int = _setting(
        1_000_000,
        "Most values in a body, counted by its commas and opening brackets.",
        unit="values",
        ge=100,
        le=100_000_000,
    )
    max_depth: int = _setting(
        32,
        "Deepest nesting of a JSON body; a list of records and a record are a level each.",
        unit="levels",
        ge=2,
        le=200,
    )
    max_faults: int = _setting(
        100,
        "Most faults listed where one rejects a request; of one record, where they are reported in its place.",
        unit="faults",
        ge=1,
        le=10_000,
    )
    max_generate_count: int = _setting(
        10_000, "Most records that one request may have generated.", unit="records", ge=1, le=1_000_000
    )
    max_requests_in_flight: int = _setting(
        256,
        "Most requests queued or computed at a time; the next is answered 429.",
        unit="requests",
        ge=1,
        le=1024,
    )
    max_bytes_in_flight: int = _setting(
        64 * 2**20,
        "Most bytes of large bodies and their answers held at a time, over all requests; the next is answered 429, and "
        "an answer that alone is larger 413.",
        unit="bytes",
        ge=1024,
        le=2**33,
    )
    request_timeout_s: float = _setting(
        30.0,
        "Longest time from the end of a body, or of a part of a large one, to its verdicts; 504 after it.",
        unit="s",
        ge=0.001,
        le=3600,
    )
    inline_body_bytes: int = _setting(
        64 * 2**10,
        "Largest body of a small request; larger ones, and those of more than VAEGIS_MAX_BATCH_RECORDS records, are "
        "scored on a thread.",
        unit="bytes",
        ge=0,
        le=2**20,
    )
    max_batch_records: int = _setting(
        1024,
        "Most records of small requests scored together, where several wait; fewer with a model that takes longer than "
        "10 ms for them, and 1 scores each request by itself.",
        unit="records",
        ge=1,
        le=4096,
    )
    scoring_threads: int = _setting(
        2, "Large requests scored side by side; the others wait their turn.", unit="threads", ge=1, le=64
    )
    inference_threads: int = _setting(1, "Threads that onnxruntime uses within a request.", unit="threads", ge=1, le=64)
    header_timeout_s: float = _setting(
        10.0, "Longest time a client may take to send a request's headers, or for TLS.", unit="s", ge=0.01, le=3600
    )
    body_timeout_s: float = _setting(
        60.0,
        "Longest time a client may take to send a body, without the time in which the service does not read it.",
        unit="s",
        ge=0.01,
        le=3600,
    )
    answer_timeout_s: float = _setting(
        30.0,
        "Longest time in which a client may read nothing of an answer.",
        unit="s",
        ge=0.01,
        le=3600,
    )
    keep_alive_s: float = _setting(
        75.0, "Longest wait for the next request on a connection.", unit="s", ge=0.01, le=3600
    )
    max_header_bytes: int = _setting(
        16 * 2**10, "Longest request line and headers together.", unit="bytes", ge=1024, le=2**20
    )
    max_headers: int = _setting(100, "Most headers of a request.", unit="headers", ge=10, le=10_000)
    max_connections: int = _setting(
        1000,
        "Most connections to a process; a new one takes the place of the one that has been idle for longest.",
        unit="connections",
        ge=1,
        le=100_000,
    )
    drain_delay_s: float = _setting(
        0.0, "Time after SIGTERM in which requests are accepted while /readyz answers 503.", unit="s", ge=0, le=600
    )
    shutdown_grace_s: int = _setting(
        30, "Longest wait for requests in flight once no more are accepted.", unit="s", ge=1, le=600
    )
    keys_file: Path | None = _setting(
        None, "File of the keys that callers may use, one a line as `vaegis key` prints it; read again when it changes."
    )
    keys: str | None = _setting(
        None, "The same in the environment, with semicolons between, for what no file is to hold; never read again."
    )
    open: bool = _setting(
        default=False, meaning="Let everyone call without a key, also on an address that others can reach."
    )
    allowed_hosts: str | None = _setting(
        None,
        "Host names and addresses, with commas between, by which the service may be called, besides this machine's own "
        "names for itself; unset means any where there are keys or VAEGIS_OPEN is true, and no more elsewhere.",
    )
    rate_records_per_s: float | None = _setting(
        None,
        "Most records a second for a key without a rate of its own, and for all callers together where there are no "
        "keys; unset means any number.",
        unit="records/s",
        ge=0.001,
        le=1e7,
    )
    rate_burst_s: float = _setting(
        10.0, "Time at its rate that a caller who sends nothing saves up.", unit="s", ge=0.1, le=3600
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "Least severe events to log; debug adds probes and scrapes."
    )
    log_format: Literal["json", "text"] = _setting(
        "json", "Lines of the log: JSON for programs, or text for whoever reads along."
    )

    @property
    def run_timeout_s(self) -> float:
        """Longest time of one run of a graph: within that of a request, and before its worker is taken to hang."""
        return max(_LEAST_RUN_TIMEOUT_S, min(self.request_timeout_s, self.worker_timeout_s / 2))


def load_settings(
    environment: Mapping[str, str], flags: Mapping[str, object], config: str | Path | None = None
) -> Settings:
    """Return the settings in force: flags before environment variables before the file before defaults.

    Args:
        environment: Environment variables. Empty ones count as unset, and those that Kubernetes makes for a Service
            named vaegis are passed over.
        flags: Values by name of the setting; None where a flag was not given.
        config: A TOML file of settings; where None, the one that `VAEGIS_CONFIG` names, if any.

    Raises:
        SettingsError: the file cannot be read, a variable that starts with `VAEGIS_` or a key of the file names no
            setting, or one that may not stand there, or a value is bad.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    file = config or environment.get(CONFIG_VARIABLE)
    if file:
        for name, given in read_settings_file(Path(file)).items():
            origin = f"{file}: {shown(name)}"
            if name not in Settings.model_fields:
                raise _unknown(origin, name.lower(), Settings.model_fields)
            if name in ENVIRONMENT_ONLY:
                raise SettingsError(f"{origin}: expected it in {variable_of(name)} alone, got it in a file")
            values[name], origins[name] = given, origin
    for variable, value in sorted(environment.items()):
        if _is_ours(variable, value):
            name = _setting_named_by(variable)
            values[name], origins[name] = value, variable
    for name, given in flags.items():
        if given is not None:
            values[name], origins[name] = given, flag_of(name)
    return _validated(values, origins)


def flag_of(name: str) -> str:
    """Return a setting's flag of `vaegis serve`.

    >>> flag_of("max_body_bytes")
    '--max-body-bytes'
    """
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """Return a setting's environment variable.

    >>> variable_of("max_body_bytes")
    'VAEGIS_MAX_BODY_BYTES'
    """
    return ENVIRONMENT_PREFIX + name.upper()


def described_settings() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the name, default, unit, range and help of each setting."""
    for name, schema in Settings.model_json_schema()["properties"].items():
        bounds = next((option for option in schema.get("anyOf", ()) if "minimum" in option), schema)
        if "enum" in schema:
            allowed = " ".join(schema["enum"])
        elif schema.get("type") == "boolean":
            allowed = TRUTH_VALUES
        elif "minimum" in bounds:
            allowed = f"{_plain(bounds['minimum'])} to {_plain(bounds['maximum'])}"
        else:
            allowed = "any"
        default = "unset" if schema["default"] is None else str(schema["default"])
        default = default.lower() if schema.get("type") == "boolean" else default
        yield name, default, schema["unit"], allowed, schema["description"]


def settings_table() -> str:
    """Return the table of `docs/settings.md`."""
    rows = ["| variable | flag | default | unit | values | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    rows += [
        f"| `{variable_of(name)}` | {_flag_cell(name)} | {default} | {unit} | {allowed} | {meaning} |"
        for name, default, unit, allowed, meaning in described_settings()
    ]
    return "\n".join(rows) + "\n"


def _flag_cell(name: str) -> str:
    return "none" if name in ENVIRONMENT_ONLY else f"`{flag_of(name)}`"


def _validated(values: Mapping[str, object], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        expected = first["msg"].removeprefix("Input should be ")
        got = shown(repr(first["input"]))
        raise SettingsError(f"{origins[str(first['loc'][0])]}: expected {expected}, got {got}") from error


def _plain(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else f"{bound:g}"


def _setting_named_by(variable: str) -> str:
    name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
    if variable == variable_of(name) and name in Settings.model_fields:
        return name
    raise _unknown(variable, variable.upper(), [CONFIG_VARIABLE, *map(variable_of, Settings.model_fields)])


def _unknown(origin: str, name: str, known: Iterable[str]) -> SettingsError:
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)[0]
    return SettingsError(f"{origin}: expected a setting of docs/settings.md, got none; the nearest is {nearest}")


def _is_ours(variable: str, value: str) -> bool:
    """Whether a variable sets something in this process; that of the file has been read by then."""
    if not value or variable == CONFIG_VARIABLE:
        return False
    return variable.startswith(ENVIRONMENT_PREFIX) and not _is_service_link(variable, value)


def _is_service_link(variable: str, value: str) -> bool:
    if _SERVICE_LINK.fullmatch(variable):
        return True
    return bool(_SERVICE_LINK_PORT.fullmatch(variable) and _SERVICE_LINK_ADDRESS.match(value))


if __name__ == "__main__":
    print(settings_table(), end="")
