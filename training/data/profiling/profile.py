"""Profile each column of the records in one pass, in constant memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa

from vaegis.service.files.arrow_columns import float64_of
from vaegis.service.files.batches import FileBatch, texts_of
from vaegis.service.files.byte_columns import is_binary
from vaegis.training.data.profiling.number_profile import NumberProfile, NumberTally
from vaegis.training.data.profiling.text_profile import TextProfile, TextTally
from vaegis.training.data.row_location import RowLocation


class Form(StrEnum):
    """What an Arrow type holds; values of one column must not change it half way."""

    NUMBER = "a number"
    BOOLEAN = "a boolean"
    TEXT = "text"
    INSTANT = "a timestamp"
    OTHER = "a value of another type"


@dataclass(frozen=True, slots=True)
class FormChange:
    """Where a column's values first have another form than those before, and which."""

    location: RowLocation
    was: Form
    now: Form


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What one column holds.

    Attributes:
        name: Its name, dotted where it was nested.
        types: Arrow types of its values, as they came first.
        form: What its first values are; None where every value is null.
        first: Where its first value stands; None where every value is null.
        not_utf8: Where its bytes first are not UTF-8, if they are not.
        change: Where its form first changes, if it does.
        records: Number of records, with and without a value here.
        observed: Number of records with a value; NaN and infinite ones, which `numbers` counts, are among them.
        numbers: Of its numbers, also those that text holds.
        text: Of its texts; None where it has none.
    """

    name: str
    types: tuple[str, ...]
    form: Form | None
    first: RowLocation | None
    not_utf8: RowLocation | None
    change: FormChange | None
    records: int
    observed: int
    numbers: NumberProfile
    text: TextProfile | None

    @property
    def holds_numbers(self) -> bool:
        """Whether all values are numbers, typed or as text."""
        if self.change is not None:
            return False
        return self.form is Form.NUMBER or (self.text is not None and self.text.numbers.first_other is None)

    @property
    def nulls(self) -> int:
        """Number of records without a value."""
        return self.records - self.observed

    @property
    def nulls_and_markers(self) -> int:
        """Number of records without a value, or with a text that stands for none in columns of numbers and times."""
        return self.nulls + (self.text.markers if self.text is not None else 0)


@dataclass(frozen=True, slots=True)
class DataProfile:
    """What all records hold.

    Attributes:
        records: Their number.
        blank_lines: Lines of CSV without any value, which are no records.
        is_text: Whether the files hold text alone, as CSV does, so that numbers must be told by how they look.
        columns: The columns, in order of their first appearance.
    """

    records: int
    blank_lines: int
    is_text: bool
    columns: tuple[ColumnProfile, ...]


class Profiler:
    """Gathers a `DataProfile` batch by batch."""

    def __init__(self, *, is_text: bool, max_distinct: int) -> None:
        self._is_text = is_text
        self._max_distinct = max_distinct
        self._records = 0
        self._columns: dict[str, _ColumnTally] = {}

    def add(self, batch: FileBatch) -> None:
        """Add the records of a batch."""

        def location(index: int) -> RowLocation:
            return RowLocation(batch.path, batch.first_row + index)

        for name, array in zip(batch.batch.schema.names, batch.batch.columns, strict=True):
            if name not in self._columns:
                self._columns[name] = _ColumnTally(self._max_distinct)
            self._columns[name].observe(array, location)
        self._records += batch.batch.num_rows

    def finish(self, blank_lines: int = 0) -> DataProfile:
        """Return what was gathered, beside ``blank_lines`` that hold no value."""
        columns = tuple(tally.profile(name, self._records) for name, tally in self._columns.items())
        return DataProfile(self._records, blank_lines, self._is_text, columns)


class _ColumnTally:
    """Gathers a `ColumnProfile`: the parts that every form has, and those of numbers and texts."""

    def __init__(self, max_distinct: int) -> None:
        self._types: dict[str, None] = {}
        self._form: Form | None = None
        self._first: RowLocation | None = None
        self._not_utf8: RowLocation | None = None
        self._change: FormChange | None = None
        self._valid = 0
        self._numbers = NumberTally()
        self._texts = TextTally(max_distinct)
        self._has_text = False

    def observe(self, array: pa.Array, location: Callable[[int], RowLocation]) -> None:
        valid = len(array) - array.null_count
        if not valid:
            self._numbers.break_order()
            return
        self._valid += valid
        self._types.setdefault(str(array.type))
        form = form_of(array.type)
        if self._form is None:
            self._form, self._first = form, location(_first_value(array))
        elif form is not self._form and self._change is None:
            self._change = FormChange(location(_first_value(array)), self._form, form)
        if self._not_utf8 is None and is_binary(array.type) and (refused := texts_of(array)[1]):
            self._not_utf8 = location(min(refused))
        if form is Form.TEXT:
            self._has_text = True
            self._texts.observe(array, location)
        elif form is Form.NUMBER:
            self._add_numbers(array, location)

    def profile(self, name: str, records: int) -> ColumnProfile:
        numbers = (self._texts.numbers if self._has_text else self._numbers).profile()
        return ColumnProfile(
            name=name,
            types=tuple(self._types),
            form=self._form,
            first=self._first,
            not_utf8=self._not_utf8,
            change=self._change,
            records=records,
            observed=self._valid,
            numbers=numbers,
            text=self._texts.profile() if self._has_text else None,
        )

    def _add_numbers(self, array: pa.Array, location: Callable[[int], RowLocation]) -> None:
        # The valid ones alone: a null would otherwise look like NaN, which is counted apart.
        numbers = float64_of(array.drop_null())
        self._numbers.observe(numbers)
        if array.null_count:
            self._numbers.break_order()
        else:
            self._numbers.add_order(numbers, location(0).path)


def form_of(kind: pa.DataType) -> Form:
    """Return what an Arrow type holds."""
    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_duration(kind):
        return Form.NUMBER
    if types.is_boolean(kind):
        return Form.BOOLEAN
    if types.is_string(kind):
        return Form.TEXT
    if types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind):
        return Form.INSTANT
    return Form.OTHER


def _first_value(array: pa.Array) -> int:
    """Return the position of the first value that is not null."""
    return int(np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))[0])
