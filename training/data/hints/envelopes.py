"""Suggest to train without the envelope where each record lies in one, such as Debezium's or an Elasticsearch hit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from vaegis.service.records.column_names import shown
from vaegis.service.terminal import counted
from vaegis.training.data.profiling.profile import DataProfile
from vaegis.training.errors import DataError

_DEBEZIUM: Final = "op before source ts_ms ts_us ts_ns transaction"
_ENVELOPES: Final = {
    "_source": (
        "_index _id _type _score _version _seq_no _primary_term _routing _ignored sort fields highlight inner_hits"
    ),
    "payload.after": f"payload.{_DEBEZIUM.replace(' ', ' payload.')} schema",
    "after": _DEBEZIUM,
    "value": "offset topic partition key timestamp headers",
}
"""Where the record of each known envelope lies, and what may stand beside it; the first of these names always does."""

_MOST_WITH_LISTS: Final = 10
"""Objects of which each is rather a part of an answer than a record; a model needs more records."""
_FEWEST: Final = 2
"""Fewest columns of a record. A single nested value is rather a measurement with its unit."""


def envelope_hint(names: Sequence[str]) -> str | None:
    """Return the advice to take records out of their envelope, if the names of all columns show one.

    Args:
        names: The column names; those of nested values are joined by dots.

    >>> print(envelope_hint(["offset", "partition", "value.amount", "value.country"]))
    The records lie in an envelope, below value, ... --unwrap /value, ... serve the model with VAEGIS_UNWRAP=/value.
    """
    path = _path_of_record(names)
    if path is None:
        return None
    pointer = _pointer(path)
    return (
        f"The records lie in an envelope, below {shown(path)}, which requests to score then need as well. To learn "
        f"from the records alone, train on NDJSON with --unwrap {pointer}, on other files without the envelope, and "
        f"serve the model with VAEGIS_UNWRAP={pointer}."
    )


def check_no_list_of_records(profile: DataProfile) -> None:
    """Refuse a few objects with a list in each: it holds the records, as in exports of many web services.

    Raises:
        DataError: There are fewer objects than a model needs, and one of their values is a list.
    """
    lists = [column.name for column in profile.columns if column.types and "list" in column.types[0]]
    if lists and profile.records < _MOST_WITH_LISTS:
        pointer = _pointer(lists[0])
        got = f"{counted(profile.records, 'object')} with a list in {shown(lists[0])}"
        raise DataError(
            f"expected records, got {got}: if the records are in that list, set "
            f'data.unwrap = "{pointer}" in train.toml, or --unwrap {pointer}'
        )


def _pointer(path: str) -> str:
    """Return a dotted path as a JSON pointer (RFC 6901)."""
    return shown("".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path.split(".")))


def _path_of_record(names: Sequence[str]) -> str | None:
    """Return the dotted path to the record: that of a known envelope, or else one that all names share."""
    for path, fields in _ENVELOPES.items():
        beside = fields.split()
        others = [name for name in names if not name.startswith(f"{path}.")]
        is_complete = any(_is_below(name, beside[0]) for name in others)
        if len(names) - len(others) >= _FEWEST and is_complete and all(_is_any_below(name, beside) for name in others):
            return path
    if len(names) < _FEWEST:
        return None
    levels = zip(*(name.split(".")[:-1] for name in names), strict=False)  # down to the least deep name
    return ".".join(level[0] for level in takewhile(lambda level: len({*level}) == 1, levels)) or None


def _is_any_below(name: str, paths: Sequence[str]) -> bool:
    return any(_is_below(name, path) for path in paths)


def _is_below(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")
