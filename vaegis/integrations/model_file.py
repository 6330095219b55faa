"""A model file that is sent to the workers of an engine, where each process loads it once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Final, Literal, TypeAlias, TypedDict

from vaegis.service.artifact import open_artifact
from vaegis.service.model import Model
from vaegis.service.model_file import DIGEST_PREFIX, Expected, content_digest, read_model_file

_MAX_LOADED: Final = 4  # a worker that lives through several jobs keeps the models of the last ones
_LOADING: Final = Lock()


class ScoreOptions(TypedDict, total=False):
    """The arguments of `Model.score_batches`, all but the batches."""

    alpha: float | None
    explain: Literal["none", "anomalies", "all"]
    unknown_columns: Literal["reject", "ignore"]
    on_invalid: Literal["reject", "report"]
    verdict_column: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The content of a model file. Unlike a `Model` it can be pickled, as engines do to send it.

    Attributes:
        digest: SHA-256 as `Model.digest`. Files of one digest are equal.
        name: Its path where it was read, for messages.
        content: Its bytes.
    """

    digest: str
    name: str = field(compare=False)
    content: bytes = field(compare=False, repr=False)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        digest: str | None = None,
        public_key: str | os.PathLike[str] | None = None,
    ) -> ModelFile:
        """Read a model file, without opening the model. The arguments are those of `vaegis.load`.

        Raises:
            ArtifactError: The file cannot be read, or is not the expected one.
            SettingsError: The digest or the public key is not valid.
            MissingExtraError: A signature is to be verified, and the extra for it is not installed.
        """
        expected = Expected(digest, None if public_key is None else Path(public_key))
        content = read_model_file(Path(path), expected)
        return cls(DIGEST_PREFIX + content_digest(content), str(path), content)

    def load(self) -> Model:
        """Return the model: opened and verified at the first call in a process, the same one after that.

        Raises:
            ArtifactError: The file cannot be used, or this machine does not reproduce its scores.
        """
        with _LOADING:
            return _loaded(self)


Source: TypeAlias = str | os.PathLike[str] | ModelFile
"""A model file that was read, or the path of one."""


def model_file_of(model: Source) -> ModelFile:
    """Return the file of a path; one that was read already as it is."""
    return model if isinstance(model, ModelFile) else ModelFile.read(model)


def loads_in_this_process() -> int:
    """Return how many models this process has opened."""
    return _loaded.cache_info().misses


@lru_cache(_MAX_LOADED)
def _loaded(file: ModelFile) -> Model:
    model = Model(open_artifact(file.content, file.name))
    model.artifact.verify()
    return model
