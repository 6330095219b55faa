"""Errors of the service. Each class names a fault; `vaegis.service.http.problems` maps it to a status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

_EXPECTATIONS: Final = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "less than or equal to": "at most",
    "greater than or equal to": "at least",
}

_PACKAGES: Final = {
    "files": frozenset(("pyarrow",)),
    "report": frozenset(("jinja2",)),
    "signature": frozenset(("cryptography",)),
    "spark": frozenset(("pyarrow", "pyspark")),
    "training": frozenset(("jaxtyping", "jinja2", "onnx", "pyarrow", "rich", "scipy", "sklearn", "torch")),
}
"""The packages that each extra installs. Without the extra they may be missing."""

STANDARD_INPUT_COPY: Final = "vaegis-standard-input"
"""Stem of the name of the file that standard input is copied to. Messages call it standard input."""

EXIT_ARTIFACT = 3
"""Exit code of a command whose model file cannot be used."""


class ServiceError(Exception):
    """Base of every error that the service raises on purpose. Its text is for the user."""


class ArtifactError(ServiceError):
    """The model file cannot be used: it is unreadable, corrupt, of another format, or does not reproduce its scores."""


class ModelFolderError(ArtifactError):
    """A folder of models, or the pointer file of a model in it, cannot be used or written."""


class GateError(ServiceError):
    """A promotion whose gate does not hold, or whose service cannot be asked."""


class RunTimeoutError(ServiceError):
    """A run of a model's graph that took longer than it may, and was ended."""


class SettingsError(ServiceError):
    """A setting is unknown or has a bad value, or the settings file cannot be read."""


class AddressError(ServiceError):
    """The service cannot listen on this address."""


class MissingExtraError(ServiceError):
    """Something that needs a package which is not installed."""


class AlphaError(ServiceError):
    """The model has too few calibration records for this alpha."""

    def __init__(self, message: str, needed_records: int) -> None:
        super().__init__(message)
        self.needed_records = needed_records


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a record, or of the header.

    Attributes:
        row: Position of the record in the request, from 0, or in its file, from 1; None if all records have the fault.
        column: Name of the column; None if the record as a whole is faulty.
        code: Stable name of the fault, listed in `docs/errors.md`.
        message: What was expected, what came, and where.
    """

    row: int | None
    column: str | None
    code: str
    message: str


class RecordError(ServiceError):
    """Records do not fit the model's schema. Holds the faults, up to a limit."""

    def __init__(self, faults: tuple[Fault, ...], omitted: int = 0) -> None:
        more = f" (and {omitted} more)" if omitted else ""
        super().__init__("; ".join(fault.message for fault in faults) + more)
        self.faults = faults
        self.omitted = omitted


class FileError(ServiceError):
    """A file of records cannot be read. Holds the place where reading stopped."""

    def __init__(self, path: Path, detail: str, *, row: int | None = None, column: str | None = None) -> None:
        super().__init__(f"{location_in_file(path, row, column)}: {detail}")
        self.path = path
        self.row = row
        self.column = column


@contextmanager
def needs_extra(extra: Literal["files", "report", "signature", "spark", "training"]) -> Iterator[None]:
    """Turn a failed import of one of an extra's packages into how to install it.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES[extra]:
            raise
        raise MissingExtraError(f"{package} is not installed; pip install 'vaegis[{extra}]'") from error


def expectation(message: str) -> str:
    """Return what a pydantic error expected, in the words of our messages.

    >>> expectation("Input should be less than or equal to 65535")
    'at most 65535'
    >>> expectation("Input should be a valid integer, unable to parse string as an integer")
    'a whole number'
    """
    expected = message.removeprefix("Input should be ").partition(", unable to parse")[0].partition(", got a number")[0]
    for theirs, ours in _EXPECTATIONS.items():
        expected = expected.replace(theirs, ours)
    return expected


def location_in_file(path: Path, row: int | None, column: str | None) -> str:
    """Return how messages name a place: the file, and the row (from 1) and the column if they are known."""
    file = "standard input" if path.stem == STANDARD_INPUT_COPY else path
    at_row = "" if row is None else f", row {row}"
    return f"{file}{at_row}" if column is None else f"{file}{at_row}, column {column}"
