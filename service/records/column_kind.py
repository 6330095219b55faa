"""What a kind of column decides: how its values are read, described, explained and drawn. `kinds` has the kinds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service import draws
from vaegis.service.contract import Value
from vaegis.service.reasons import Reason

_Column = TypeVar("_Column")


class ColumnKind(ABC, Generic[_Column]):
    """What one kind of column decides. Methods that take a column take one of this kind."""

    expected: ClassVar[str]
    """Description of a valid value, for error messages."""
    takes_truths: ClassVar[bool] = False
    """Whether typed booleans are values of it."""
    only_truths: ClassVar[bool] = False
    """Whether 0 and 1 are the only numbers that are values of it."""
    takes_instants: ClassVar[bool] = False
    """Whether typed dates and times are values of it."""
    is_plain_number: ClassVar[bool] = False
    """Whether its text is a number or blank, and nothing else."""
    json_type: ClassVar[Any]
    """Type of a value in JSON for msgspec."""
    json_absent: ClassVar[object] = msgspec.UNSET
    """What stands for a key that is absent."""
    datatype: ClassVar[str]
    """Datatype of its tensors in the Open Inference Protocol, version 2."""
    drawn: ClassVar[str] = "object"
    """Type of generated values in files, as numpy names it; `object` is text, datetimes are in UTC."""

    def observed_range(self, column: _Column) -> tuple[float, float]:
        """Return the least and the greatest number that training saw; infinite where none is out of range."""
        return -math.inf, math.inf

    def known_categories(self, column: _Column) -> frozenset[str] | None:
        """Return the categories that training knew; None where the kind has no categories."""
        return None

    def forms(self, column: _Column) -> Callable[[Sequence[str]], list[str]] | None:
        """Return the function that turns values into what the graph takes; None where it takes the values."""
        return None

    def category_sizes(self, column: _Column) -> tuple[int, ...]:
        """Return how many probabilities the generator gives for each of the column's categorical fields."""
        return ()

    def reason(self, column: _Column, observed: float | str | None) -> Reason:
        """Return why the value of a column that contributes to an anomaly is unusual.

        Args:
            column: The column, with its training statistics.
            observed: The value: a number (seconds for an instant), a category, or None for null.
        """
        if observed is None:
            return Reason.UNEXPECTED_MISSING
        return self._reason_of_value(column, observed)

    @abstractmethod
    def _reason_of_value(self, column: _Column, observed: Any) -> Reason: ...  # noqa: ANN401 - a float or a str by kind

    @abstractmethod
    def shown(self, column: _Column) -> Callable[[Any], Value] | None:
        """Return a function that formats a value of a column, or None if the value needs no formatting."""

    @abstractmethod
    def expectation(self, column: _Column) -> Callable[[float], Value]:
        """Return the function that turns the graph's output `expected` into what the column would write."""

    @abstractmethod
    def json_schema(self, column: _Column) -> dict[str, Any]:
        """Return the JSON Schema of the values that the service takes, including those that training never saw."""

    @abstractmethod
    def statistics(self, column: _Column) -> str:
        """Return what training saw of a column, in a few words."""

    def not_seen(self, column: _Column) -> str:
        """Return which faults of a column the score does not see, in a few words; nothing where there are none."""
        return ""

    @abstractmethod
    def draw(self, column: _Column, decoded: draws.DecodedColumn, random: np.random.Generator) -> NDArray[Any]:
        """Draw a value for each of n records from what the decoder gives, by a function of `draws`.

        Args:
            column: The column.
            decoded: Its location, and the probabilities of each of `category_sizes`.
            random: Source of the draws.
        """

    def drawn_type(self, column: _Column) -> np.dtype[Any]:
        """Return the type that drawn values have in files."""
        return np.dtype(self.drawn)

    def drawn_json(self, column: _Column, drawn: NDArray[Any]) -> list[Value]:
        """Return drawn values as JSON writes them."""
        values: list[Value] = drawn.tolist()
        return values


class NumberKind(ColumnKind[_Column]):
    """A kind whose values stand in the graph's input `numbers`."""

    json_is_number: ClassVar[bool] = True
    """Whether JSON values of `json_type` are numbers and truth values alone, so that those of all columns convert at
    once; otherwise they are parsed column by column."""

    @abstractmethod
    def parse(self, value: object) -> float:
        """Return text or a value of JSON or Python as a number; NaN is a null.

        Raises:
            RefusedValueError: It is of another kind.
        """

    def parse_uniform(self, texts: list[str]) -> NDArray[np.float64] | None:
        """Return the values of texts that all have the kind's usual form, read at once; None if one has another."""
        return None

    def of_numbers(self, numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the values that numbers stand for, NaN for null, and which of them the kind refuses; both (n,)."""
        return numbers, np.isinf(numbers)
