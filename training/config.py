"""The settings of training: names, defaults, ranges and help, and how they are read from `train.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args, get_origin

import annotated_types
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from vaegis.service.errors import expectation
from vaegis.service.records.column_names import nearest, shown
from vaegis.training.errors import ConfigError

Kind: TypeAlias = Literal["numeric", "boolean", "categorical", "timestamp", "text"]
"""The kinds of column that are scored."""
KindSetting: TypeAlias = Literal[Kind, "ignore"]
Delimiter: TypeAlias = Annotated[str, Field(min_length=1, max_length=1)]
Quote: TypeAlias = Annotated[str, Field(max_length=1)]
Escape: TypeAlias = Annotated[str, Field(min_length=1, max_length=1)]


def _time_format(text: str) -> str:
    forms = text.split("|")
    try:
        for form in forms:
            datetime.strptime(datetime(2024, 3, 18).strftime(form), form)  # noqa: DTZ001, DTZ007 - of the format alone
        if all("%" in form for form in forms):
            return text
    except ValueError:
        pass
    raise ValueError("expected codes of strptime, such as %d.%m.%Y %H:%M, got a text without them, or with others")


_QUOTED_NAMES = '; a name with blanks, dots or accents stands in quotes, as in columns."unit price".kind'

TIME_KIND: Kind = "timestamp"
"""The kind of a column by whose time records are split."""
GROUP_KIND: Kind = "categorical"
"""The kind of a column by whose values records are split, unless it has another."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataSettings(_Section):
    """How records are read."""

    time_column: str | None = Field(
        None, description="Calibrate on the newest records by this column. none: calibrate on a random share."
    )
    max_records: int = Field(
        500_000,
        ge=100,
        le=100_000_000,
        description="Most records in the sample that is fitted. All records are read; the sample is uniform.",
    )
    max_sample_bytes: int = Field(
        256 * 2**20,
        ge=2**20,
        le=2**40,
        description="Most memory for that sample, in bytes. Wide records make it smaller.",
    )
    null_values: list[str] = Field(
        [],
        description='Texts and numbers that are nulls in every column, such as `["missing", "-999"]`. Columns of '
        "numbers, booleans and times also have the usual ones: NA, null, None, -, ? and others.",
    )
    delimiter: Delimiter | None = Field(
        None,
        description="CSV: the character between values. none: that of a line `sep=;`, else a comma, in .tsv a tab.",
    )
    quote: Quote | None = Field(
        None,
        description='CSV: the character around values; an empty text where quotes are ordinary characters. none: `"`.',
    )
    escape: Escape | None = Field(
        None,
        description="CSV: the character before quotes, delimiters and line ends within a value. none: quotes are "
        "doubled.",
    )
    encoding: str | None = Field(
        None,
        description="CSV: the encoding, such as latin-1 or cp1252. none: UTF-8, or UTF-16 or UTF-32 by its byte order "
        "mark.",
    )
    unwrap: str | None = Field(
        None,
        description="NDJSON: JSON pointer to the record in each object, such as /payload/after of Debezium. Objects "
        "whose record is null, such as deletions, are skipped. none: each object is a record.",
    )
    max_depth: int = Field(
        32,
        ge=1,
        le=64,
        description="Deepest nesting of objects that become columns such as `address.city`. Their names together have "
        "at most 1,000 characters.",
    )


class ColumnSettings(_Section):
    """What the user knows about one column."""

    kind: KindSetting | None = Field(
        None,
        description="Kind of this column. none: inferred. text: its form alone is watched. ignore: the column is not "
        "scored.",
    )
    timezone: str | None = Field(
        None,
        description="Zone whose hours and weekdays are scored, as in `Europe/Berlin` or `+02:00`. none: the one that "
        "all values name, by their type in Parquet and Arrow or in text, else UTC. It does not change how values "
        "without a zone are read, which is as UTC: leave it out if they are local times.",
    )
    null_values: list[str] | None = Field(
        None, description="Texts and numbers that are nulls in this column, instead of `data.null_values`."
    )
    decimal: Literal[".", ","] | None = Field(
        None, description="Decimal separator of numbers in text. none: found from the data."
    )
    unit: str | None = Field(
        None,
        max_length=16,
        description="What stands before or after the numbers, such as `kg`. none: found from the data.",
    )
    format: Annotated[str, AfterValidator(_time_format)] | None = Field(
        None,
        min_length=2,
        max_length=128,
        description="How text writes dates and times, such as `%d/%m/%Y %H:%M` (codes of `strptime`); of several, "
        "separated by `|`, the first that fits counts. ISO 8601 is read as well. none: found from the data.",
    )


class KindSettings(_Section):
    """How the kind of a column is inferred."""

    max_categories: int = Field(
        256, ge=2, le=10_000, description="Most categories kept for one column. Rarer values count as unseen."
    )
    min_category_share: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="A text column whose kept categories cover less than this share of the records is too varied; "
        "its form alone is watched.",
    )
    max_distinct_share: float = Field(
        0.9,
        gt=0.0,
        le=1.0,
        description="A text column with a larger share of distinct values is an identifier; its form alone is watched.",
    )
    max_mean_characters: int = Field(
        64,
        ge=1,
        le=100_000,
        description="A text column with a larger mean length is free text; its form alone is watched.",
    )
    max_distinct: int = Field(
        50_000, ge=100, le=10_000_000, description="Most distinct texts counted for one column. Bounds memory."
    )


class SplitSettings(_Section):
    """Which records the model is fitted to, and which calibrate it."""

    method: Literal["auto", "split", "cross"] = Field(
        "auto",
        description="split: some records calibrate, the others are fitted. cross: several models, each "
        "calibrated by the records that it was not fitted to. auto: cross for few records, or few groups, without a "
        "time column.",
    )
    group_column: str | None = Field(
        None,
        description="Column that says whose record it is, such as `customer_id`. All records of one value are fitted, "
        "or all calibrate, so that the promise covers new ones. The column is not scored unless its kind is set.",
    )
    cross_below: int = Field(1000, ge=0, le=100_000, description="auto means cross below this number of records.")
    folds: int = Field(
        5, ge=2, le=20, description="cross: number of models. Each is fitted without one fold, which calibrates it."
    )
    calibration_share: float = Field(
        0.2,
        gt=0.0,
        lt=1.0,
        description="split: share of the records that calibrate. The model is not fitted to them.",
    )


class ModelSettings(_Section):
    """The size of the model."""

    latent_dim: int | None = Field(
        None,
        ge=1,
        le=512,
        description="Width of the latent space. none: one per column and two per timestamp, within 2 to 32.",
    )
    hidden: int = Field(128, ge=4, le=4096, description="Width of the hidden layers of the encoder and the decoder.")


class FitSettings(_Section):
    """How the model is fitted."""

    steps: int = Field(
        3000,
        ge=1,
        le=10_000_000,
        description="Most optimiser steps, rounded up to whole epochs of at most 150 steps. Small sets take fewer.",
    )
    batch_size: int = Field(128, ge=2, le=1_000_000, description="Records per step.")
    learning_rate: float = Field(3e-3, gt=0.0, le=1.0, description="Highest learning rate of AdamW.")
    weight_decay: float = Field(1e-4, ge=0.0, le=1.0, description="Weight decay of AdamW.")
    beta: float = Field(0.3, ge=0.0, le=100.0, description="Weight of the KL divergence in the loss.")
    draws: int = Field(
        4,
        ge=2,
        le=1024,
        multiple_of=2,
        description="Fixed draws from q(z|x) that a score averages over, in pairs of opposite sign.",
    )
    exemplars: int = Field(
        2048, ge=1, le=100_000, description="Most training records whose codes are the centers of the prior's mixture."
    )
    missing_rate: float = Field(
        0.1,
        ge=0.0,
        le=0.9,
        description="In fitting, this share of the values is hidden from the encoder, so that it copes with nulls.",
    )
    masked_share: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="In fitting, this share of the records has more values hidden, to learn how columns depend.",
    )
    most_masked: float = Field(
        0.7,
        ge=0.0,
        le=1.0,
        description="In such a record, a share between 0 and this is hidden, drawn uniformly.",
    )
    input_noise: float = Field(
        0.1,
        ge=0.0,
        le=10.0,
        description="In fitting, noise on numbers that the encoder sees, in standard deviations of the column.",
    )
    trim_share: float = Field(
        0.01,
        ge=0.0,
        le=0.5,
        description="Each step leaves out this share of the records, by highest loss: they may be anomalies.",
    )
    threads: int = Field(
        1, ge=1, le=256, description="Threads of torch. A second one brings nothing for networks of this size."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the sample, splits, weights and draws.")


class CalibrationSettings(_Section):
    """The false-alarm rate that the model promises."""

    alpha: float = Field(
        0.01, gt=0.0, lt=1.0, description="Share of normal records that may be flagged. Can be overridden in serving."
    )
    max_records: int = Field(
        50_000,
        ge=10,
        le=10_000_000,
        description="split: most records that calibrate. The file holds their scores; further records are fitted.",
    )
    history_anomalies: float = Field(
        0.0,
        ge=0.0,
        le=0.5,
        description="Share of the history that may be anomalies. This share of the calibration scores, the highest, is "
        "left out. Where the history has none, up to alpha + share (1 - alpha) of the normal records are flagged.",
    )
    labels: str | None = Field(
        None,
        min_length=1,
        description="CSV file that `--review` wrote, with labels filled in. Records that it labels as anomalies do not "
        "calibrate. none: no labels.",
    )


class ExportSettings(_Section):
    """The model file."""

    model_name: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Name of the model in answers and metrics. none: the name of the output file.",
    )


class TrainConfig(_Section):
    """All settings of a training run."""

    data: DataSettings = DataSettings()
    columns: dict[str, ColumnSettings] = Field(default_factory=dict)
    kinds: KindSettings = KindSettings()
    splits: SplitSettings = SplitSettings()
    model: ModelSettings = ModelSettings()
    fit: FitSettings = FitSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    export: ExportSettings = ExportSettings()


SETTINGS_FILE = "train.toml"
"""How messages call the file of settings."""
HOW_TO_SET = f"{SETTINGS_FILE} is read if --config names it (in Python: settings=)."


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting as the documentation shows it.

    Attributes:
        name: Section and key, as in `fit.seed`.
        default: The default in TOML; ``none`` if there is none.
        range: The allowed values.
        help: One line that says what the setting does.
    """

    name: str
    default: str
    range: str
    help: str


def load_config(path: Path | None) -> TrainConfig:
    """Read `train.toml`. Without a path, every setting has its default.

    Raises:
        ConfigError: The file cannot be read or is not TOML, a key is unknown, or a value is out of range.
    """
    if path is None:
        return TrainConfig()
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors may write a byte order mark
        return TrainConfig.model_validate(tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8, got an invalid byte at {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        hint = _QUOTED_NAMES if "columns" in text else ""
        raise ConfigError(f"{path}: expected TOML, got: {error}{hint}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(_faults(error))}") from error


def with_overrides(config: TrainConfig, overrides: Mapping[str, object]) -> TrainConfig:
    """Return the settings with some values replaced, for the flags of the command line.

    Args:
        config: The settings.
        overrides: Values by section and key, as in `fit.seed`; None leaves the setting as it is.

    Raises:
        ConfigError: A value is out of range.
    """
    settings = config.model_dump()
    for name, value in overrides.items():
        section, key = name.split(".")
        if value is not None:
            settings[section][key] = value
    return config_of(settings)


def config_of(settings: Mapping[str, object]) -> TrainConfig:
    """Return the settings that the tables of `train.toml` give, here as dicts.

    Raises:
        ConfigError: A key is unknown, or a value is out of its range.
    """
    try:
        return TrainConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("; ".join(_faults(error))) from error


def setting_rows() -> Iterator[SettingRow]:
    """Yield every setting, in the order of the sections."""
    for section, field in TrainConfig.model_fields.items():
        model = field.annotation
        name = section
        if section == "columns":
            model, name = ColumnSettings, 'columns."name"'
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError(f"{section}: expected a section of settings, got {model}")
        for key, setting in model.model_fields.items():
            yield SettingRow(f"{name}.{key}", _shown_default(setting), _range(setting), str(setting.description))


def settings_table() -> str:
    """Return the table of docs/training-settings.md."""
    rows = [f"| `{row.name}` | {row.default} | {row.range} | {_in_cell(row.help)} |" for row in setting_rows()]
    return "\n".join(["| setting | default | values | meaning |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _in_cell(text: str) -> str:
    return text.replace("|", r"\|")


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        name = shown(".".join(str(part) for part in fault["loc"]))
        if fault["type"] == "extra_forbidden":
            yield f"{name}: unknown setting{_hint(fault['loc'])}"
        elif fault["type"] == "value_error":
            yield f"{name}: {fault['ctx']['error']}"
        else:
            expected = expectation(fault["msg"])
            yield f"{name}: expected {expected}, got {shown(repr(fault['input']))}"


def _hint(location: tuple[int | str, ...]) -> str:
    """Return what to do about an unknown key."""
    key = str(location[-1])
    if len(location) > 1 and key in TrainConfig.model_fields:  # TOML adds it to the table that it stands below
        return f"; write lines that begin with {key} above the first [table] of the file"
    meant = _nearest_key(location)
    return f"; the nearest is {meant}" if meant else ""


def _nearest_key(location: tuple[int | str, ...]) -> str | None:
    """Return the valid key most similar to an unknown one, or the section's key if only the section is missing."""
    key = str(location[-1])
    elsewhere = [row.name for row in setting_rows() if len(location) == 1 and row.name.endswith(f".{key}")]
    return elsewhere[0] if elsewhere else nearest(key, _keys_beside(location))


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are valid in the section of ``location``."""
    if len(location) == 1:
        return list(TrainConfig.model_fields)
    section = ColumnSettings if location[0] == "columns" else TrainConfig.model_fields[str(location[0])].annotation
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []


def _shown_default(setting: FieldInfo) -> str:
    return "none" if setting.default is None else str(setting.default)


def _range(setting: FieldInfo) -> str:
    options = list(_options(setting.annotation))
    if options:
        return ", ".join(options)
    low, high = "", ""
    for limit in setting.metadata:
        match limit:
            case annotated_types.Ge(ge=bound):
                low = f"at least {bound}"
            case annotated_types.Gt(gt=bound):
                low = f"above {bound}"
            case annotated_types.Le(le=bound):
                high = f"at most {bound}"
            case annotated_types.Lt(lt=bound):
                high = f"below {bound}"
            case annotated_types.MinLen(min_length=bound):
                low = f"{bound} or more characters"
            case annotated_types.MaxLen(max_length=bound):
                high = f"at most {bound} characters"
    return ", ".join(part for part in (low, high) if part) or "text"


def _options(annotation: object) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (str(option) for option in get_args(annotation))
    else:
        for part in get_args(annotation):
            yield from _options(part)


if __name__ == "__main__":
    print(settings_table(), end="")
