"""Read columns of bytes as text if they hold UTF-8: some writers of Parquet leave their strings unmarked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from vaegis.service.errors import FileError
from vaegis.service.files.batches import NOT_UTF8, Refusal, texts_of
from vaegis.service.records.column_names import setting_of, shown


class ByteColumns:
    """Gives each column of bytes of a stream one type: that of its first values, text if all of these are UTF-8."""

    def __init__(self, ignored: Collection[str] = ()) -> None:
        """Begin a stream; ``ignored`` are columns whose bytes nobody reads, so that none are wrong."""
        self.ignored = ignored
        self._is_text: dict[str, bool] = {}

    def text_of(
        self, name: str, array: pa.Array, path: Path, first_row: int, refused: dict[int, Refusal] | None
    ) -> pa.Array:
        """Return bytes as text or, if the column's first ones are not UTF-8, as they are; other values stay.

        Args:
            name: The column.
            array: Its values in one batch.
            path: Their file, for messages.
            first_row: Row of the first one, from 1.
            refused: Collects records whose bytes are not UTF-8 where those before were; None: these end the reading.

        Raises:
            FileError: Bytes are not UTF-8, although those before were.
        """
        if not is_binary(array.type):
            return array
        known = self._is_text.get(name)
        if known is False:
            return array
        try:
            texts = array.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:
            if not known:
                self._is_text[name] = False
                return array
        else:
            if array.null_count < len(array):
                self._is_text[name] = True
            return texts
        if name in self.ignored:
            return pa.array([v if v is None else v.decode(errors="backslashreplace") for v in array.to_pylist()])
        texts, bad = texts_of(array)
        if refused is None:
            way = f'write the column as UTF-8, or leave it out: in training by {setting_of(name, "kind")} = "ignore"'
            raise FileError(path, f"{NOT_UTF8.detail}; {way}", row=first_row + min(bad), column=shown(name))
        refused |= bad | refused
        return texts


def is_binary(kind: pa.DataType) -> bool:
    """Return whether a type holds bytes."""
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )
