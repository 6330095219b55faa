"""The models that are served, by name. A request takes the live version of a model once, and keeps it to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from starlette.exceptions import HTTPException

from vaegis.service.artifact import Artifact
from vaegis.service.http.errors import NotReadyError
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.schemas import LoadFailure, ModelItem, ModelsAnswer, VersionItem, shown_digest
from vaegis.service.http.served_model import ServedModel

NewServed: TypeAlias = Callable[[Artifact, str, str | None], ServedModel]
"""Prepares to serve an artifact by the name and with the name of the version given."""


@dataclass(frozen=True, slots=True)
class ServedAs:
    """How the first model is served.

    Attributes:
        name: Its name in paths, answers and metrics.
        version: The name of its version; None if it has none.
        versions: Lists the versions of a model by name, loaded or not.
    """

    name: str
    version: str | None = None
    versions: Callable[[str], list[str]] = lambda _: []


class ModelEntry:
    """One name, and the version that is live under it.

    Attributes:
        name: The name.
        served: The live version; None if none could be loaded.
        since: When it became live here.
        failure: Why the version that should be live is not; None if it is.
    """

    __slots__ = ("failure", "name", "served", "since")

    def __init__(self, name: str) -> None:
        self.name = name
        self.served: ServedModel | None = None
        self.since = ""
        self.failure: LoadFailure | None = None

    def live(self) -> ServedModel:
        """Return the live version.

        Raises:
            NotReadyError: none could be loaded.
        """
        if self.served is None:
            raise NotReadyError(f"no version of the model {self.name!r} could be loaded; GET /models says why")
        return self.served


class ModelRegistry:
    """The models by name. Changed on the event loop's thread only; read on any.

    Attributes:
        default: The model of routes that name none.
        new_served: Prepares to serve an artifact.
    """

    def __init__(self, default: str, metrics: Metrics, new_served: NewServed) -> None:
        """Begin with no version of the model ``default``, and no other model."""
        self.default = ModelEntry(default)
        self.new_served = new_served
        self._metrics = metrics
        self._entries = {default: self.default}

    def entry(self, name: str) -> ModelEntry:
        """Return a model.

        Raises:
            HTTPException: there is none of this name.
        """
        entry = self._entries.get(name)
        if entry is None:
            known = ", ".join(map(repr, sorted(self._entries)))
            raise HTTPException(404, f"models: expected the model {known}, got another")
        return entry

    def live_of(self, name: str) -> ServedModel | None:
        """Return the live version of a model, if there is one."""
        entry = self._entries.get(name)
        return None if entry is None else entry.served

    def with_version(self, name: str, version: str | None) -> ServedModel:
        """Return the live version of a model, if it has the name ``version`` or that is None.

        Raises:
            HTTPException: there is no such model, or another version is live.
            NotReadyError: no version could be loaded.
        """
        served = self.entry(name).live()
        if version not in (None, served.version):
            known = f"the model {name!r} of version {served.version}, which is live"
            raise HTTPException(404, f"models: expected {known}, got another")
        return served

    def swap(self, served: ServedModel, *, clears_failure: bool = True) -> None:
        """Make a version live. Requests in flight keep the one they took, which is freed when the last of them ends.

        Args:
            served: The version.
            clears_failure: Whether it is the version that should be live.
        """
        entry = self._entries.setdefault(served.name, ModelEntry(served.name))
        entry.served, entry.since = served, _now()
        if clears_failure:
            entry.failure = None
        self._metrics.count_model_live(served.name, served.artifact, alpha=served.alpha, threshold=served.threshold)

    def keep(self, name: str, version: str | None) -> None:
        """Note that the live version is the one that should be live, perhaps under another name."""
        entry = self.entry(name)
        entry.failure = None
        if version is not None:
            entry.live().version = version

    def fail(self, name: str, version: str | None, reason: str) -> None:
        """Note why a version is not live. What is live stays."""
        entry = self._entries.setdefault(name, ModelEntry(name))
        entry.failure = LoadFailure(version=version, reason=reason, since=_now())
        self._metrics.count_model_failure(name)

    def described(self, versions: Callable[[str], list[str]]) -> ModelsAnswer:
        """Return what GET /models tells; ``versions`` lists those of a model."""
        models = []
        for name, entry in sorted(self._entries.items()):
            served, live = entry.served, None
            if served is not None:
                live = VersionItem(version=served.version, digest=shown_digest(served.artifact), since=entry.since)
            models.append(ModelItem(name=name, live=live, failure=entry.failure, versions=versions(name)))
        return ModelsAnswer(default=self.default.name, models=models)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
