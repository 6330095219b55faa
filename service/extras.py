"""The error that names the extra whose packages are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from vaegis.service.errors import MissingExtraError

_PACKAGES: Final = {
    "files": frozenset(("pyarrow",)),
    "report": frozenset(("jinja2",)),
    "signature": frozenset(("cryptography",)),
    "spark": frozenset(("pyarrow", "pyspark")),
    "training": frozenset(("jaxtyping", "jinja2", "onnx", "pyarrow", "rich", "scipy", "sklearn", "torch")),
}


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
