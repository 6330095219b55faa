"""The formats of files of records."""

from __future__ import annotations

from enum import StrEnum


class FileFormat(StrEnum):
    """A format that is read and written."""

    CSV = "CSV"
    PARQUET = "Parquet"
    ARROW = "Arrow"
    NDJSON = "NDJSON"
