"""vaegis: learn what normal records look like, score new ones, and say which columns are anomalous.

`load` opens a model file, and `train` makes one. onnxruntime and torch are imported only when they are called.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from vaegis.service.errors import (
    AlphaError,
    ArtifactError,
    Fault,
    MissingExtraError,
    RecordError,
    ServiceError,
    SettingsError,
)
from vaegis.service.extras import needs_extra

if TYPE_CHECKING:
    from vaegis.service.model import Data, Model
    from vaegis.service.score_result import ScoreResult
    from vaegis.training.errors import TrainingError

__all__ = [
    "AlphaError",
    "ArtifactError",
    "Fault",
    "MissingExtraError",
    "Model",
    "RecordError",
    "ScoreResult",
    "ServiceError",
    "SettingsError",
    "TrainingError",
    "load",
    "train",
]

_MODULES = {
    "Model": "vaegis.service.model",
    "ScoreResult": "vaegis.service.score_result",
    "TrainingError": "vaegis.training.errors",
}


def load(
    path: str | os.PathLike[str],
    threads: int = 1,
    *,
    digest: str | None = None,
    public_key: str | os.PathLike[str] | None = None,
) -> Model:
    """Open a model file, and check that this machine reproduces the scores of the records inside it.

    Args:
        path: The file that `train` or the command `vaegis-train` wrote.
        threads: Threads that onnxruntime may use in one call, at least 1.
        digest: Refuse the file unless it has this digest, ``sha256:`` and 64 hexadecimal digits.
        public_key: PEM file of an Ed25519 key; refuse the file unless ``path`` + ``.sig`` is its signature by it.

    Raises:
        ArtifactError: The file cannot be read, is not a vaegis model, was cut off or altered, is not the expected one,
            or its scores are not reproduced.
        SettingsError: The digest or the public key is not valid.
        MissingExtraError: A signature is to be verified, and the extra for it is not installed.
        ValueError: ``threads`` is below 1.

    >>> import vaegis
    >>> model = vaegis.load("model.onnx")
    >>> model.columns
    {'amount': 'numeric', 'express': 'boolean', 'country': 'categorical', 'placed_at': 'timestamp'}
    """
    from vaegis.service.model import load as load_model

    return load_model(path, threads, digest=digest, public_key=public_key)


def train(
    data: Data | str | os.PathLike[str],
    settings: Mapping[str, Mapping[str, object]] | str | os.PathLike[str] | None = None,
    *,
    output: str | os.PathLike[str] = "model.onnx",
    verbose: bool = False,
) -> Model:
    """Learn what normal records look like, write the model file, and return it opened.

    Args:
        data: The records: the path of a file or folder that `vaegis-train` reads, a list of dicts, an Arrow table or
            stream, or a frame. Arrow data is read once, as a stream.
        settings: The tables of `train.toml` as dicts, or the path of such a file; None: the defaults.
        output: The model file. It is replaced in one step. If anything fails, it is not changed.
        verbose: Whether to print what `vaegis-train` prints.

    Raises:
        TrainingError: Nothing can be learned from the records, a setting is wrong, or the file cannot be written.
        ServiceError: A file of records cannot be read.
        MissingExtraError: The training extra is not installed.
        TypeError: The data are none of the above.
    """
    with needs_extra("training"):
        from vaegis.training.api import train_model
    train_model(data, settings, output, verbose=verbose)
    return load(output)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Return a public class whose module is loaded only when it is asked for."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)
