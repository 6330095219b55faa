"""The models that are served, by name. A request takes the live version of a model once, and keeps it to its end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from pydantic import Field
from starlette.exceptions import HTTPException

from vaegis.service.artifact import Artifact
from vaegis.service.errors import ModelFolderError
from vaegis.service.http.errors import NotReadyError
from vaegis.service.http.models.served_model import ServedModel
from vaegis.service.http.models.shadow import Shadow
from vaegis.service.http.observability.metrics import Metrics
from vaegis.service.http.observability.model_metrics import ShadowMetrics
from vaegis.service.http.schemas import EXAMPLE_DIGEST, Answer, shown_digest, with_example
from vaegis.service.model_folder import read_pointer, version_names

NewServed: TypeAlias = Callable[[Artifact, str, str | None], ServedModel]
"""Prepares to serve an artifact by the name and with the name of the version given."""


class VersionItem(Answer):
    """A version of a model that is loaded."""

    version: str
    digest: str
    since: str = Field(description="When it began to be used here, in UTC.")


class LoadFailure(Answer):
    """Why the version that should be used is not."""

    version: str | None
    reason: str
    since: str


class ModelItem(Answer):
    """A model that is served."""

    name: str
    live: VersionItem | None = Field(description="Scores requests; null if no version could be loaded.")
    shadow: str | None = Field(description="The version that scores a sample of the traffic beside the live one.")
    shadow_failure: LoadFailure | None = Field(description="Why the version that should do so does not.")
    failure: LoadFailure | None = Field(description="Why the last change was not taken; null if it was.")
    before: str | None = Field(description="The version that a rollback makes live; null if there is none.")
    versions: list[str] = Field(description="The versions in the folder, loaded or not; none for a single file.")


class ModelsAnswer(Answer):
    """The answer of GET /models, by one worker."""

    model_config = with_example(
        default="orders",
        models=[
            {
                "name": "orders",
                "live": {"version": "2024-06", "digest": EXAMPLE_DIGEST, "since": "2026-11-30T09:42:57.307+00:00"},
                "shadow": "2024-07",
                "shadow_failure": None,
                "failure": None,
                "before": "2024-05",
                "versions": ["2024-05", "2024-06", "2024-07"],
            }
        ],
    )

    default: str = Field(description="The model of POST /score.")
    models: list[ModelItem]


class ShadowAnswer(Answer):
    """The answer of GET /models/{model}/shadow: counts of all workers since the service started."""

    model_config = with_example(
        model="orders",
        live="2024-06",
        version="2024-07",
        digest=EXAMPLE_DIGEST,
        records=20000,
        dropped=0,
        failed=0,
        live_flagged=180,
        candidate_flagged=204,
        flagged_ratio=1.1333,
        disagreement=0.0022,
        p_value_shift=0.06,
        appeared={"amount": 31},
        vanished={"country": 7},
    )

    model: str
    live: str = Field(description="The live version.")
    version: str = Field(description="The version in shadow.")
    digest: str = Field(description="Digest of the version in shadow.")
    records: int = Field(description="Records that both versions scored.")
    dropped: int = Field(description="Records of the sample that came faster than they could be scored.")
    failed: int = Field(description="Records that the version in shadow could not score.")
    live_flagged: int
    candidate_flagged: int
    flagged_ratio: float | None = Field(
        description="candidate_flagged / live_flagged; 1 if neither flags any, null if only the candidate does."
    )
    disagreement: float | None = Field(description="Share of the records that one of the two flags.")
    p_value_shift: float | None = Field(description="Mean orders of magnitude between the p-values of both.")
    appeared: dict[str, int] = Field(description="Flagged records that the column leads in shadow alone, by column.")
    vanished: dict[str, int] = Field(description="Flagged records that the column leads live alone, by column.")


@dataclass(frozen=True, slots=True)
class ServedAs:
    """How the first model is served.

    Attributes:
        name: Its name in paths, answers and metrics.
        version: The name of its version; None if it has none.
        folder: The folder of models; None for a single file.
    """

    name: str
    version: str | None = None
    folder: Path | None = None


@dataclass(slots=True)
class ModelEntry:
    """One name, and the version that is live under it.

    Attributes:
        name: The name.
        served: The live version; None if none could be loaded.
        since: When it became live here.
        failure: Why the version that should be live is not; None if it is.
        shadow: Scores a sample of the traffic with another version; None if there is no such version.
        shadow_failure: Why the version that should do so does not.
    """

    name: str
    served: ServedModel | None = None
    since: str = ""
    failure: LoadFailure | None = None
    shadow: Shadow | None = None
    shadow_failure: LoadFailure | None = None

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

    def __init__(self, default: str, metrics: Metrics, new_served: NewServed, shadow_share: float) -> None:
        """Begin with no version of the model ``default``, and no other; a sample of ``shadow_share`` is shadowed."""
        self.default = ModelEntry(default)
        self.new_served = new_served
        self._metrics = metrics
        self._shadow_share = shadow_share
        self._entries = {default: self.default}

    def entry(self, name: str) -> ModelEntry:
        """Return a model.

        Raises:
            HTTPException: there is none of this name.
        """
        entry = self._entries.get(name)
        if entry is None:
            known = ", ".join(map(repr, sorted(self._entries)))
            raise HTTPException(404, f"no such model; this service has {known}")
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
            raise HTTPException(404, f"no such version of the model {name!r}; {served.version!r} is live")
        return served

    def swap(self, served: ServedModel) -> None:
        """Make a version live. Requests in flight keep the one they took, which is freed when the last of them ends."""
        entry = self._entries.setdefault(served.name, ModelEntry(served.name))
        self.set_shadow(served.name, None)  # it was compared with the version before
        entry.served, entry.since = served, _now()
        self._metrics.count_model_live(served.name, served.artifact, alpha=served.alpha, threshold=served.threshold)

    def set_shadow(self, name: str, candidate: ServedModel | None) -> None:
        """Have a version score a sample of a model's traffic, or none."""
        entry = self.entry(name)
        if entry.shadow is not None:
            entry.shadow.close()
        entry.shadow, entry.shadow_failure = None, None
        if entry.served is None:
            return
        entry.served.judge.shadow = None
        if candidate is not None:
            metrics = ShadowMetrics(self._metrics, name, entry.served.version, candidate.version)
            entry.shadow = Shadow(candidate, self._shadow_share, metrics)
            entry.served.judge.shadow = entry.shadow.offer

    def fail_shadow(self, name: str, version: str | None, reason: str) -> None:
        """Note why a version does not score in shadow."""
        self.set_shadow(name, None)
        self.entry(name).shadow_failure = LoadFailure(version=version, reason=reason, since=_now())

    def close(self) -> None:
        """End the shadows of all models."""
        for entry in self._entries.values():
            if entry.shadow is not None:
                entry.shadow.close()
                entry.shadow.join()

    def compared(self, name: str) -> ShadowAnswer:
        """Return how the version in shadow compares with the live one, by the counts of all workers.

        Raises:
            HTTPException: there is no such model, or none of its versions is in shadow.
        """
        entry = self.entry(name)
        if entry.shadow is None:
            why = f": {entry.shadow_failure.reason}" if entry.shadow_failure else "; `vaegis shadow` names one"
            raise HTTPException(404, f"models: no version of {name!r} is in shadow{why}")
        candidate = entry.shadow.candidate
        counts, apart, leading = self._metrics.shadow_counts(name, entry.live().version, candidate.version)
        flagged = [counts[verdict] + counts["both"] for verdict in ("live", "candidate")]
        compared = counts["neither"] + counts["live"] + counts["candidate"] + counts["both"]
        return ShadowAnswer(
            model=name,
            live=entry.live().version,
            version=candidate.version,
            digest=shown_digest(candidate.artifact),
            records=compared,
            dropped=counts["dropped"],
            failed=counts["failed"],
            live_flagged=flagged[0],
            candidate_flagged=flagged[1],
            flagged_ratio=flagged[1] / flagged[0] if flagged[0] else (1.0 if compared and not flagged[1] else None),
            disagreement=(counts["live"] + counts["candidate"]) / compared if compared else None,
            p_value_shift=apart / compared if compared else None,
            appeared=leading["appeared"],
            vanished=leading["vanished"],
        )

    def keep(self, name: str, version: str | None) -> None:
        """Note that the live version is the one that should be live, perhaps under another name."""
        entry = self.entry(name)
        entry.failure = None
        self._metrics.end_model_failure(name)
        if version is not None:
            entry.live().version = version

    def fail(self, name: str, version: str | None, reason: str) -> None:
        """Note why a version is not live. What is live stays."""
        entry = self._entries.setdefault(name, ModelEntry(name))
        entry.failure = LoadFailure(version=version, reason=reason, since=_now())
        self._metrics.count_model_failure(name)

    def names(self) -> list[str]:
        """Return the models, sorted."""
        return sorted(self._entries)

    def described(self, folder: Path | None) -> ModelsAnswer:
        """Return what GET /models tells, with the versions in the folder of models, if there is one."""
        models = []
        for name, entry in sorted(self._entries.items()):
            served, live = entry.served, None
            if served is not None:
                live = VersionItem(version=served.version, digest=shown_digest(served.artifact), since=entry.since)
            models.append(
                ModelItem(
                    name=name,
                    live=live,
                    shadow=None if entry.shadow is None else entry.shadow.candidate.version,
                    failure=entry.failure,
                    shadow_failure=entry.shadow_failure,
                    before=None if folder is None else _version_before(folder, name),
                    versions=[] if folder is None else version_names(folder, name),
                )
            )
        return ModelsAnswer(default=self.default.name, models=models)


def _version_before(folder: Path, name: str) -> str | None:
    """Return the version that a rollback makes live, if there is one."""
    with suppress(ModelFolderError):
        pointer = read_pointer(folder, name)
        if pointer is not None and pointer.history:
            return pointer.history[-1].version
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
