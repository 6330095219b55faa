"""The settings of the service: names, units, defaults, ranges and help, and where their values come from."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vaegis.service.errors import SettingsError, expectation
from vaegis.service.records.column_names import UnknownColumns, shown
from vaegis.service.records.json_pointer import POINTER

ENVIRONMENT_PREFIX: Final = "VAEGIS_"
CONFIG_VARIABLE: Final = "VAEGIS_CONFIG"
"""Names the settings file unless `--config` does."""
ENVIRONMENT_ONLY: Final = frozenset({"keys"})
"""Secrets. They have no flag, because every user of the machine can read flags, and no key in the settings file."""
TRUTH_VALUES: Final = "true false"
"""The allowed values of a switch, as the documentation shows them."""
_GROUPS: Final = {
    "host": "Change these first",
    "model_digest": "Model file",
    "explain": "Scoring",
    "keys": "Callers and rates",
    "uds": "Behind a proxy",
    "tls_certificate": "HTTPS",
    "compression_min_bytes": "Answers",
    "max_document_bytes": "Size of one request",
    "max_requests_in_flight": "Work at one time",
    "max_connections": "Connections and slow clients",
    "worker_timeout_s": "Workers and shutdown",
    "log_level": "Logs",
}
"""The groups of settings, by the first setting of each."""

_LEAST_RUN_TIMEOUT_S: Final = 1.0

# Kubernetes sets such variables in each pod for every Service of its namespace, and a Service may be named vaegis.
_SERVICE_LINK: Final = re.compile(r"VAEGIS_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_.+)?)")
_SERVICE_LINK_PORT: Final = re.compile(r"VAEGIS_(.+_)?PORT")
_SERVICE_LINK_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")


def _setting(
    default: object,
    meaning: str,
    *,
    unit: str = "",
    within: tuple[float | None, float | None] = (None, None),
    pattern: str | None = None,
) -> Any:  # noqa: ANN401 - so is Field
    """Return a field that also describes its flag and its row in the documentation. Its name may have the unit."""
    extra: dict[str, Any] = {"unit": unit}
    least, greatest = within
    return Field(default, ge=least, le=greatest, pattern=pattern, description=meaning, json_schema_extra=extra)


class Settings(BaseModel):
    """Everything an operator can set, by a flag of `vaegis serve`, a `VAEGIS_` variable or a settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = _setting(
        "localhost",
        "Address to listen on, or a name for all its addresses. localhost means 127.0.0.1 and ::1; 0.0.0.0 means every "
        "IPv4 interface; :: adds IPv6.",
    )
    port: int = _setting(8080, "TCP port to listen on. 0 picks a free one.", within=(0, 65535))
    workers: int | None = _setting(
        None,
        "Worker processes. Unset means one for each available core, fewer if memory is short.",
        unit="processes",
        within=(1, 256),
    )
    keys_file: Path | None = _setting(
        None, "File of valid keys, one per line as `vaegis key` prints it. Reloaded when it changes."
    )
    alpha: float | None = _setting(
        None,
        "Share of normal records that may be flagged, unless the request says otherwise. Unset means the model's own.",
        unit="share",
        within=(1e-9, 0.999),
    )
    max_body_bytes: int = _setting(
        64 * 2**20,
        "Largest request body, after decompression. `vaegis score` takes files of any size.",
        within=(1024, 2**30),
    )
    model_digest: str | None = _setting(
        None, "Digest that the model file must have, as `vaegis inspect` shows it: sha256: and 64 hexadecimal digits."
    )
    model_public_key: Path | None = _setting(
        None, "PEM file of an Ed25519 public key. It must verify the signature in the file MODEL.sig."
    )
    model_timeout_s: float = _setting(
        60.0, "Longest time to load the model and score its golden records.", within=(1, 3600)
    )
    max_tensor_bytes: int = _setting(
        2**30,
        "Most memory of the tensors of a model's graph while it runs, beyond 128 times the size of the file.",
        within=(2**22, 2**36),
    )
    default_model: str | None = _setting(
        None, "Model of /score when a folder of models is served. Unset means the only one in the folder."
    )
    model_reload: bool = _setting(
        default=True,
        meaning="Load a model file that was replaced, or a version that was promoted, without a restart. Turned off, "
        "only SIGHUP does.",
    )
    model_poll_s: float = _setting(
        1.0, "Time between two looks at the model file or the pointer files.", within=(0.05, 3600)
    )
    allow_schema_change: bool = _setting(
        default=False,
        meaning="Let a model that is loaded while another is served have other columns, or columns of other kinds.",
    )
    shadow_share: float = _setting(
        0.1,
        "Share of the batches of live traffic that a version in shadow scores too (`vaegis shadow`).",
        unit="share",
        within=(0.0001, 1),
    )
    explain: Literal["none", "anomalies", "all"] = _setting(
        "anomalies", "Which records get contributions in the answer, unless the request says otherwise."
    )
    unknown_columns: UnknownColumns = _setting(
        "reject", "Whether a column that the model does not know is an error or is dropped."
    )
    unwrap: str | None = _setting(
        None,
        "JSON pointer to the record in each object of a JSON or NDJSON body, such as /payload/after. Unset means that "
        "each object is a record.",
        pattern=POINTER,
    )
    max_faults: int = _setting(
        100,
        "Most faults listed in a 422, or for one record with `on_invalid=report`.",
        unit="faults",
        within=(1, 10_000),
    )
    max_generate_count: int = _setting(
        10_000, "Most records that one request may generate.", unit="records", within=(1, 1_000_000)
    )
    keys: str | None = _setting(
        None, "Valid keys, as lines of the keys file with semicolons between. Read once, at the start."
    )
    open: bool = _setting(
        default=False, meaning="Let everyone call without a key, even on an address that other machines can reach."
    )
    allowed_hosts: str | None = _setting(
        None,
        "Host names and addresses that callers may use besides localhost and VAEGIS_HOST, separated by commas. Unset "
        "means every name if there are keys or VAEGIS_OPEN is set, and otherwise these two alone.",
    )
    cors_origins: str | None = _setting(
        None,
        "Origins whose web pages may call from a browser (CORS), such as https://app.example, separated by commas. "
        "Unset means none but the service's own.",
    )
    page: bool = _setting(
        default=True, meaning="Serve the live page at /. Its counts need a key with the scope metrics."
    )
    show_values: bool = _setting(
        default=False,
        meaning="Let the live page show expected values and limits, which training took from past records, beside a "
        "record that is scored there.",
    )
    rate_records_per_s: float | None = _setting(
        None,
        "Records per second for each key that has no rate of its own; without keys, for all callers together. Unset "
        "means no limit.",
        unit="records/s",
        within=(0.001, 1e7),
    )
    rate_burst_s: float = _setting(
        10.0, "Size of the token bucket, as seconds at the caller's rate.", within=(0.1, 3600)
    )
    uds: Path | None = _setting(
        None, "Unix socket to listen on instead of VAEGIS_HOST and VAEGIS_PORT. Who may write to it may call."
    )
    root_path: str | None = _setting(
        None,
        "Path before all paths, such as /vaegis, which a proxy takes off. It stands in the OpenAPI document.",
        pattern=r"^(/[A-Za-z0-9._~-]+)+$",
    )
    tls_certificate: Path | None = _setting(
        None, "PEM file of the certificate chain. Turns on HTTPS; reloaded when it changes."
    )
    tls_key: Path | None = _setting(
        None, "PEM file of the certificate's private key, without a password. Reloaded when it changes."
    )
    compression_min_bytes: int = _setting(
        2**20,
        "Shortest answer that is compressed if Accept-Encoding has gzip or zstd. More than VAEGIS_MAX_BYTES_IN_FLIGHT "
        "means that none is.",
        within=(1024, 2**34),
    )
    max_document_bytes: int = _setting(
        16 * 2**20,
        "Largest part of a body that is parsed whole: a JSON document, a line, a CSV record or an Arrow message.",
        within=(1024, 2**30),
    )
    max_body_records: int = _setting(
        500_000,
        "Most records in one body of any format. A few compressed bytes may hold millions.",
        unit="records",
        within=(1, 1_000_000_000),
    )
    max_records: int = _setting(
        10_000, "Most records in one JSON document or V2 request.", unit="records", within=(1, 1_000_000)
    )
    max_columns: int = _setting(
        10_000, "Most columns in a header; each field of a nested column counts.", unit="columns", within=(1, 1_000_000)
    )
    max_values: int = _setting(
        1_000_000,
        "Most values in a body, estimated by counting commas and opening brackets.",
        unit="values",
        within=(100, 100_000_000),
    )
    max_depth: int = _setting(
        32,
        "Deepest nesting of a JSON body. The list of records is one level, a record is another.",
        unit="levels",
        within=(2, 200),
    )
    max_requests_in_flight: int = _setting(
        256,
        "Most requests queued or being scored at one time. The next is answered 429.",
        unit="requests",
        within=(1, 1024),
    )
    max_bytes_in_flight: int = _setting(
        64 * 2**20,
        "Most bytes of large bodies and their answers held at one time, over all requests. The next request is "
        "answered 429; a single answer that is larger, 413.",
        unit="bytes",
        within=(1024, 2**33),
    )
    request_timeout_s: float = _setting(
        30.0,
        "Longest time from the end of a body, or of a part of a large one, to its verdicts. After it: 504.",
        within=(0.001, 3600),
    )
    max_batch_records: int = _setting(
        1024,
        "Small requests that wait together are scored in batches of up to this many records, fewer if the model needs "
        "more than 10 ms for them. 1 turns batching off.",
        unit="records",
        within=(1, 4096),
    )
    inline_body_bytes: int = _setting(
        64 * 2**10,
        "A larger body is scored on a thread. So is one of more than VAEGIS_MAX_BATCH_RECORDS records.",
        within=(0, 2**20),
    )
    scoring_threads: int = _setting(
        2, "Threads that score large requests. Further large requests wait.", unit="threads", within=(1, 64)
    )
    inference_threads: int = _setting(
        1, "Threads that onnxruntime uses for one request.", unit="threads", within=(1, 64)
    )
    max_connections: int = _setting(
        1000,
        "Most connections to one worker. A further one replaces the connection that has been idle longest.",
        unit="connections",
        within=(1, 100_000),
    )
    keep_alive_s: float = _setting(75.0, "An idle connection is closed after this long.", within=(0.01, 3600))
    max_header_bytes: int = _setting(16 * 2**10, "Largest request line and headers together.", within=(1024, 2**20))
    max_headers: int = _setting(100, "Most headers in a request.", unit="headers", within=(10, 10_000))
    header_timeout_s: float = _setting(
        10.0,
        "Longest time for a client to send the headers of a request, or to finish the TLS handshake.",
        within=(0.01, 3600),
    )
    body_timeout_s: float = _setting(
        60.0,
        "Longest time for a client to send a body. Time in which the service does not read does not count.",
        within=(0.01, 3600),
    )
    answer_timeout_s: float = _setting(
        30.0, "A client that reads nothing of its answer for this long is disconnected.", within=(0.01, 3600)
    )
    worker_timeout_s: float = _setting(
        30.0, "A worker whose event loop does not respond for this long is killed and replaced.", within=(1, 3600)
    )
    drain_delay_s: float = _setting(
        0.0, "After SIGTERM, requests are still accepted for this long while /readyz answers 503.", within=(0, 600)
    )
    shutdown_grace_s: int = _setting(
        30, "Longest wait for requests in flight after the service stops accepting new ones.", within=(1, 600)
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "Least severe level to log. debug adds probes and scrapes."
    )
    log_format: Literal["json", "text"] = _setting("json", "Format of log lines: json for programs, text for people.")

    @property
    def has_keys(self) -> bool:
        """Whether callers are asked for a key."""
        return self.keys is not None or self.keys_file is not None

    @property
    def run_timeout_s(self) -> float:
        """Longest time of one run of a graph: shorter than a request may take, and than a worker may not respond."""
        return max(_LEAST_RUN_TIMEOUT_S, min(self.request_timeout_s, self.worker_timeout_s / 2))


def load_settings(
    environment: Mapping[str, str], flags: Mapping[str, object], config: str | Path | None = None
) -> Settings:
    """Return the settings: a flag overrides a variable, which overrides the settings file, which overrides the default.

    Args:
        environment: Environment variables. An empty one counts as unset. Variables that Kubernetes sets for a Service
            named vaegis are ignored.
        flags: Values by setting name; None for a flag that was not given.
        config: TOML file of settings. If None, the file that `VAEGIS_CONFIG` names, if any.

    Raises:
        SettingsError: The file cannot be read, a `VAEGIS_` variable or a key of the file is not a setting, a secret
            is in the file, or a value is bad.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    file = config or environment.get(CONFIG_VARIABLE)
    if file:
        for name, given in _read_file(Path(file)).items():
            origin = f"{file}: {shown(name)}"
            if name not in Settings.model_fields:
                raise _unknown(origin, name.lower(), Settings.model_fields)
            if name in ENVIRONMENT_ONLY:
                raise SettingsError(f"{origin}: not allowed in a file; set {variable_of(name)} instead")
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


class DescribedSetting(NamedTuple):
    """What the documentation and `vaegis serve --help` say of a setting, as text."""

    group: str
    name: str
    default: str
    unit: str
    allowed: str
    meaning: str


def described_settings() -> Iterator[DescribedSetting]:
    """Yield a description of each setting, group by group."""
    group = ""
    for name, schema in Settings.model_json_schema()["properties"].items():
        group = _GROUPS.get(name, group)
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
        suffix = next((suffix for suffix in ("s", "bytes") if name.endswith(f"_{suffix}")), "")
        yield DescribedSetting(group, name, default, schema["unit"] or suffix, allowed, schema["description"])


def settings_tables() -> str:
    """Return the tables of `docs/settings.md`, one for each group."""
    lines: list[str] = []
    for setting in described_settings():
        if setting.name in _GROUPS:
            head = "| variable | default | unit | values | meaning |\n| --- | --- | --- | --- | --- |"
            lines += ([""] if lines else []) + [f"## {setting.group}", "", head]
        cells = (f"`{variable_of(setting.name)}`", *setting[2:])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _read_file(path: Path) -> dict[str, object]:
    """Return the values of a file by key. Keys may not be settings.

    Booleans become text, as in a variable, because pydantic would accept them as the numbers 0 and 1.

    Raises:
        SettingsError: the file cannot be read, is not TOML, or holds a table.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: expected UTF-8, got an invalid byte at {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: expected TOML, got: {error}") from error
    for name, value in values.items():
        if isinstance(value, dict | list):
            kind = "a table" if isinstance(value, dict) else "a list"
            raise SettingsError(f"{path}: {shown(name)}: expected one value, got {kind}")
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}


def _validated(values: Mapping[str, object], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        expected = expectation(first["msg"])
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
    return SettingsError(f"{origin}: unknown setting; the nearest is {nearest}. docs/settings.md lists all")


def _is_ours(variable: str, value: str) -> bool:
    """Return whether a variable holds a setting of this process. `VAEGIS_CONFIG` has been read before."""
    if not value or variable == CONFIG_VARIABLE or not variable.startswith(ENVIRONMENT_PREFIX):
        return False
    is_port_of_link = _SERVICE_LINK_PORT.fullmatch(variable) and _SERVICE_LINK_ADDRESS.match(value)
    return not (_SERVICE_LINK.fullmatch(variable) or is_port_of_link)


if __name__ == "__main__":
    print(settings_tables(), end="")
