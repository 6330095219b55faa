"""The schema of a model: statistics of each column in the fit split."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from vaegis.service.columns import Columns, build_columns
from vaegis.service.contract import (
    MOST_KNOWN_VALUES,
    QUANTILE_FRACTIONS,
    BooleanColumn,
    CalendarField,
    CategoricalColumn,
    Check,
    Column,
    IgnoredColumn,
    NumberForm,
    NumericColumn,
    Schema,
    TextColumn,
    TimestampColumn,
    ViolationCode,
    WatchedColumn,
)
from vaegis.service.grid import decimals
from vaegis.service.records.values import FALSE_WORDS, TRUE_WORDS
from vaegis.service.scorer import graph_strings
from vaegis.training.config import Kind
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.placeholders import find_placeholders, frequent_placeholders
from vaegis.training.data.sampling import Sample
from vaegis.training.data.text_form import are_growing, text_column
from vaegis.training.data.zones import zone_offsets
from vaegis.training.errors import DataError
from vaegis.training.model.likelihoods.numeric import DEGREES_OF_FREEDOM
from vaegis.training.model.preprocessing import NULL_CODE, unit

_YEAR_S = 366 * 86_400.0
_YEARS_FOR: Mapping[CalendarField, int] = {"month": 2, "day": 1}
"""The times must cover more years than this for the part of the date to be scored: each month came twice, and each day
of the month twelve times, so that neither can stand for a single event. A gap of over a year, such as that before
9999-12-31, covers nothing."""

_BULK = (0.05, 0.95)
_NEARLY_ALL = (0.005, 0.995)
_MOST_DECIMALS = 6
_WHOLE_TOLERANCE = 4.0 * np.finfo(np.float64).eps  # how far, relatively, a decimal fraction lies from its float64
_FEWEST_FOR_A_COARSE_GRID = 1000  # of fewer multiples of 5, the next value is none too often
_FEWEST_MULTIPLES = 5  # two or three different values have a common divisor by chance
_MOST_WHOLE_TOLERANCE = 1e-3  # beyond, any number would be near enough to a whole one
_ROUNDING = 1e-12  # a share of the largest value, well above what rounding to float64 leaves
_LARGEST_WHOLE = 2.0**50  # above, float64 does not tell a whole number from its neighbours well enough


def build_schema(
    plans: tuple[ColumnPlan, ...], sample: Sample, fit_rows: NDArray[np.int64], *, max_categories: int
) -> Schema:
    """Return the schema of the columns that ``plans`` keep, with statistics of the fit split.

    Args:
        plans: The kind of each column, or the reason why it is not scored.
        sample: The records.
        fit_rows: Rows of the fit split in ``sample``.
        max_categories: Most categories that a column keeps, the most frequent ones.

    Raises:
        DataError: A value is not of its column's kind, or no column is left.
    """
    columns: list[Column] = []
    watched: list[WatchedColumn] = []
    ignored: list[IgnoredColumn] = []
    for plan in plans:
        kind = plan.kind or plan.watched
        column = None if kind is None else _column(plan, kind, sample, fit_rows, max_categories)
        if column is None:
            reason = plan.reason if kind is None else "null in every record of the fit split"
            ignored.append(IgnoredColumn(name=plan.name, reason=reason, warnings=plan.warnings))
            continue
        update = {"why": plan.reason, "warnings": plan.warnings, "reading": plan.reading}
        if plan.kind is not None:
            columns.append(column.model_copy(update=update))
        elif isinstance(column, NumericColumn):
            watched.append(column.model_copy(update=update | {"values": (), "checks": _range_checks(plan)}))
        elif isinstance(column, TextColumn):
            watched.append(column.model_copy(update=update))
    if not columns:
        raise DataError("expected a column with values in the fit split, got only nulls")
    return Schema(columns=tuple(columns), watched=tuple(watched), ignored=tuple(ignored))


def columns_of(sample: Sample, schema: Schema) -> Columns:
    """Return the sample by column; infinities count as nulls, as the profile reports."""
    return build_columns(
        schema,
        len(sample),
        lambda _, column: sample.numbers(column.name, column.kind, column.reading, _number_form(column)),
        lambda _, column: sample.categories(column.name),
    )


def category_codes(columns: Columns, schema: Schema) -> Int[Tensor, "n ds"]:
    """Return the code of each category or pattern, as the graph's look-up gives it."""
    strings = graph_strings(schema, columns.strings)
    codes = np.full(strings.shape, NULL_CODE, dtype=np.int64)
    for at, column in enumerate(schema.categorical):
        code = {category: i for i, category in enumerate(column.categories)}
        unseen = len(code)
        found = [code.get(value, unseen) for value in strings[:, at]]
        codes[:, at] = np.where(columns.strings_observed[:, at], found, NULL_CODE)
    return torch.from_numpy(codes)


def standard_unit(values: NDArray[np.float64], step: float) -> float:
    """Return the unit of a column for the model: the standard deviation, with gross values clipped.

    Gross are values farther from the central 90% than it is wide; where it has no width, the outermost 0.5% each way.
    A column with too few values off its main one takes a tenth of its range; a constant one its grid step, or a
    millionth of its value if that is more, so that float32 rounds to the same value and any other stands far off.
    """
    low, high = np.quantile(values, _BULK)
    reach = high - low
    if reach == 0.0:
        low, high = np.quantile(values, _NEARLY_ALL)
    drawn_in = np.clip(values, low - reach, high + reach)
    size, drawn_in_size = float(np.abs(values).max()), float(np.abs(drawn_in).max())
    # Of a constant column, rounding may leave a little. Beside one gross value, an ordinary width is little as well.
    if (width := _standard_deviation(drawn_in)) > _ROUNDING * drawn_in_size:
        return width
    width = float(np.ptp(values)) / 10.0
    return width if width > _ROUNDING * size else max(step, size * 1e-6, 1e-6)


def with_noise_scales(schema: Schema, scales: list[float]) -> Schema:
    """Return the schema with the scale of each numeric column's noise, given in standardised units."""
    remaining = iter(scales)
    columns = [
        column.model_copy(update={"noise_scale": next(remaining) * unit(column)})
        if isinstance(column, NumericColumn)
        else column
        for column in schema.columns
    ]
    return schema.model_copy(update={"columns": tuple(columns)})


def grid_step(values: NDArray[np.float64]) -> float:
    """Return the power of ten, at most 1, on whose multiples all values lie; 0 where none down to 1e-6 fits.

    >>> grid_step(np.array([3.0, 250.0])), grid_step(np.array([0.5, 12.25])), grid_step(np.array([np.pi]))
    (1.0, 0.01, 0.0)
    """
    largest = float(np.abs(values).max())
    for places in range(_MOST_DECIMALS + 1):
        scale = 10.0**places
        if largest * scale > _LARGEST_WHOLE:
            return 0.0
        scaled = values * scale
        tolerance = np.minimum(_WHOLE_TOLERANCE * np.abs(scaled), _MOST_WHOLE_TOLERANCE)
        if (np.abs(scaled - np.round(scaled)) <= tolerance).all():
            return 1.0 / scale
    return 0.0


def coarsest_step(values: NDArray[np.float64], step: float) -> float:
    """Return the greatest multiple of a column's step on whose multiples all of at least 1,000 values lie.

    >>> coarsest_step(np.repeat([0.0, 5.0, 10.0, 25.0, 40.0], 200), 1.0)
    5.0
    """
    multiples = np.unique(np.rint(values / step))
    if values.size < _FEWEST_FOR_A_COARSE_GRID or multiples.size < _FEWEST_MULTIPLES:
        return step
    return round(int(np.gcd.reduce(multiples.astype(np.int64))) * step, decimals(step))


def known_values(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the distinct numbers, ascending, where they are few; else none."""
    distinct = np.unique(values)
    return tuple(distinct.tolist()) if distinct.size <= MOST_KNOWN_VALUES else ()


def _column(
    plan: ColumnPlan, kind: Kind, sample: Sample, fit_rows: NDArray[np.int64], max_categories: int
) -> Column | None:
    """Return a column with its statistics, or None if it has no value."""
    name = plan.name
    if kind == "categorical":
        strings, observed = sample.categories(name)
        return _categorical(name, strings[fit_rows], observed[fit_rows], max_categories)
    if kind == "text":
        strings, observed = sample.categories(name)
        fitted = strings[fit_rows][observed[fit_rows]].tolist()
        missing_share = 1.0 - len(fitted) / len(fit_rows)
        in_order = are_growing(strings[observed].tolist())
        return (
            text_column(name, fitted, missing_share, grows=in_order, most_patterns=max_categories) if fitted else None
        )
    numbers = sample.numbers(name, kind, plan.reading, plan.number_form)[fit_rows]
    values = numbers[~np.isnan(numbers)]
    if values.size == 0:
        return None
    missing_share = 1.0 - values.size / numbers.size
    if kind == "boolean":
        as_number = not _holds_truth_words(sample.table[name])
        return BooleanColumn(
            name=name, missing_share=missing_share, true_share=float(values.mean()), as_number=as_number
        )
    low, high = float(values.min()), float(values.max())
    if kind == "timestamp":
        gaps = np.diff(np.unique(values))
        covered = float(gaps[gaps <= _YEAR_S].sum())
        return TimestampColumn(
            name=name,
            missing_share=missing_share,
            earliest=low,
            latest=high,
            calendar=tuple(field for field, years in _YEARS_FOR.items() if covered > years * _YEAR_S),
            number_form=plan.number_form,
            zone=plan.zone,
            offsets=zone_offsets(plan.zone, low, high),
        )
    step = grid_step(values)
    placeholders = frequent_placeholders(find_placeholders(values), values) if plan.kind == "numeric" else []
    quantities = values[~np.isin(values, placeholders)]
    return NumericColumn(
        name=name,
        missing_share=missing_share,
        minimum=low,
        maximum=high,
        quantiles=tuple(float(q) for q in np.quantile(quantities, QUANTILE_FRACTIONS)),
        step=step,
        values=known_values(values),
        placeholders=tuple(placeholders),
        noise_scale=standard_unit(quantities, step),
        degrees_of_freedom=DEGREES_OF_FREEDOM,
    )


def _range_checks(plan: ColumnPlan) -> tuple[Check, ...]:
    """Return the checks of a watched column's range."""
    codes = (ViolationCode.BELOW_RANGE, ViolationCode.ABOVE_RANGE)
    return tuple(
        Check(code=code, limit=limit) for code, limit in zip(codes, plan.limits, strict=True) if limit is not None
    )


def _number_form(column: Column) -> NumberForm:
    return column.number_form if isinstance(column, TimestampColumn) else "epoch"


def _standard_deviation(values: NDArray[np.float64]) -> float:
    """Return the standard deviation, also of values whose squares overflow."""
    centred = values - float(np.median(values))
    size = float(np.abs(centred).max())
    return float((centred / size).std()) * size if size > 0 else 0.0


def _categorical(
    name: str, strings: NDArray[np.object_], observed: NDArray[np.bool_], max_categories: int
) -> CategoricalColumn | None:
    count = Counter(strings[observed].tolist())
    if not count:
        return None
    # Ties by name, so that the same records give the same file.
    kept = sorted(count.items(), key=lambda item: (-item[1], item[0]))[:max_categories]
    total = int(observed.sum())
    return CategoricalColumn(
        name=name,
        missing_share=1.0 - total / len(observed),
        categories=tuple(category for category, _ in kept),
        shares=tuple(n / total for _, n in kept),
    )


def _holds_truth_words(values: pa.ChunkedArray) -> bool:
    """Return whether a boolean column holds true and false, typed or as text, rather than 1 and 0."""
    if pa.types.is_boolean(values.type):
        return True
    first = next((str(value) for value in values.to_pylist() if value is not None and str(value).strip()), "")
    return first.strip().lower() in TRUE_WORDS | FALSE_WORDS
