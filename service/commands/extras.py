"""What to say when an optional package is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vaegis.service.errors import ServiceError


class MissingExtraError(ServiceError):
    """A command that needs a package which is not installed."""


@contextmanager
def needs_files_extra() -> Iterator[None]:
    """Turn a failed import of pyarrow into how to install it.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "pyarrow":
            raise
        raise MissingExtraError(
            "pyarrow, which reads and writes files of records, is not installed: pip install 'vaegis[files]'"
        ) from error
