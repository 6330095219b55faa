"""Loads versions of models on a thread of its own, and hands each to the event loop once it has passed its checks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

from vaegis.service.artifact import Artifact, open_artifact
from vaegis.service.contract import Schema
from vaegis.service.errors import ArtifactError, ModelFolderError, ServiceError
from vaegis.service.http.models.registry import ModelRegistry
from vaegis.service.http.models.served_model import ServedModel
from vaegis.service.http.models.version_check import VersionChecks
from vaegis.service.model_file import Expected, content_digest, read_model_file
from vaegis.service.model_folder import (
    POINTER_FILE,
    Stamp,
    Version,
    live_version,
    model_names,
    read_pointer,
    require_promoted,
    stamp_of,
    version_path,
)
from vaegis.service.records.column_names import accepted_names
from vaegis.service.runtime import RunLimits
from vaegis.service.settings import Settings

_LOG: Final = logging.getLogger("vaegis.models")
_CLOSE_S: Final = 10.0

Publish = Callable[[Callable[[], None]], object]
"""Calls a function on the event loop's thread, and returns when it has ended."""


@dataclass(frozen=True, slots=True)
class Target:
    """A version that should be live.

    Attributes:
        path: Its file.
        version: Its name; None for a single file.
        digest: Digest that the file must have; None for any.
        allow_schema_change: Whether its columns may differ from those of the live version.
        stamps: Of the files that decide it. If one differs, the version is looked at again.
    """

    path: Path
    version: str | None
    digest: str | None
    allow_schema_change: bool
    stamps: tuple[Stamp, ...]


@dataclass(frozen=True, slots=True)
class FileSource:
    """A single file, served by the name ``name``, which may be replaced."""

    path: Path
    name: str
    allow_schema_change: bool

    def names(self) -> list[str]:
        """Return the one name."""
        return [self.name]

    def targets(self, _: str) -> Iterator[Target]:
        """Yield the file."""
        yield Target(self.path, None, None, self.allow_schema_change, (stamp_of(self.path),))

    def shadow(self, _: str) -> None:
        """Return None: only a folder has versions for the shadow."""


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder of models, each with a pointer file. All methods may raise `ModelFolderError`."""

    path: Path
    allow_schema_change: bool

    def names(self) -> list[str]:
        """Return the models of the folder."""
        return model_names(self.path)

    def targets(self, name: str) -> Iterator[Target]:
        """Yield the version of a model that should be live, then those that were before, the newest first."""
        version, named = live_version(self.path, name)
        yield self._target(name, version, named)
        try:
            pointer = read_pointer(self.path, name)
        except ModelFolderError:
            return  # broken since it was read above; the next look says so
        for before in reversed(() if pointer is None else pointer.history):
            yield self._target(name, before.version, before)

    def shadow(self, name: str) -> Target | None:
        """Return the version of a model that should score in shadow, if any."""
        pointer = read_pointer(self.path, name)
        if pointer is None or pointer.shadow is None:
            return None
        return self._target(name, pointer.shadow.version, pointer.shadow)

    def _target(self, name: str, version: str, named: Version | None) -> Target:
        path = version_path(self.path, name, version)
        stamps = stamp_of(path.with_name(POINTER_FILE)), stamp_of(path)
        digest = None if named is None else named.digest
        allows = self.allow_schema_change or (named is not None and named.allow_schema_change)
        return Target(path, version, digest, allows, stamps)


ModelSource: TypeAlias = FileSource | FolderSource
"""Where versions of models come from."""


def default_model(folder: Path, chosen: str | None) -> str:
    """Return the model of POST /score: the one that is ``chosen``, or the only one of the folder.

    Raises:
        ModelFolderError: there is none.
    """
    names = model_names(folder)
    if chosen is None and len(names) == 1:
        return names[0]
    if chosen is not None and chosen in names:
        return chosen
    if not names:
        raise ModelFolderError(f"{folder}: expected a folder for each model, with files VERSION.onnx, got none")
    if chosen is None:
        expected = "exactly one model, or VAEGIS_DEFAULT_MODEL to name the one of POST /score"
    else:
        expected = f"the model {chosen!r}, which VAEGIS_DEFAULT_MODEL names"
    raise ModelFolderError(f"{folder}: expected {expected}, got {len(names)}: {', '.join(names)}")


def opened_content(data: bytes, name: str, settings: Settings, optimized: bytes | None = None) -> Artifact:
    """Return the artifact in the content of the file ``name``, with every check but the golden records.

    Raises:
        ArtifactError: it cannot be used.
    """
    limits = RunLimits(settings.inference_threads, settings.run_timeout_s, settings.max_tensor_bytes)
    return open_artifact(data, name, limits, optimized=optimized)


def schema_difference(old: Schema, new: Schema) -> str | None:
    """Say how records that fit ``old`` would be read otherwise by ``new``; None if they would not."""
    kinds, new_kinds = ({column.name: column.kind for column in schema.columns} for schema in (old, new))
    taken = accepted_names(new.of_records)
    differences = [f"{name} is not scored any more" for name in kinds if name not in new_kinds]
    differences += [f"{name} is new" for name in new_kinds if name not in kinds]
    differences += [
        f"{name} was {kind} and is {new_kinds[name]}"
        for name, kind in kinds.items()
        if name in new_kinds and new_kinds[name] != kind
    ]
    differences += [f"{column.name} is refused" for column in (*old.watched, *old.ignored) if column.name not in taken]
    if not differences:
        return None
    more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""  # noqa: PLR2004 - enough to see why
    return ", ".join(differences[:5]) + more


class ModelLoader:
    """Keeps a registry at the versions that its source names.

    It looks at the source at fixed instants of a clock that all processes of a machine share, so that workers change
    together. If a version cannot be used, what is live stays live, and the version is tried again when one of its
    files changes or when `wake` is called.
    """

    def __init__(
        self,
        source: ModelSource,
        registry: ModelRegistry,
        settings: Settings,
        on_swap: Callable[[str], None] = lambda _: None,
        checks: VersionChecks | None = None,
    ) -> None:
        """Load from ``source`` into ``registry``, and call ``on_swap`` with the digest of each new live version.

        From `start` on, ``checks`` checks versions in another process; without, they are checked in this one.
        """
        self._source = source
        self._registry = registry
        self._settings = settings
        self._on_swap = on_swap
        self._checks = checks
        self._publish: Publish = lambda change: change()
        self._seen: dict[str, Target | str] = {}
        self._seen_shadows: dict[str, Target | None] = {}
        self._failures: dict[str, Exception] = {}
        self._wake = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def load_first(self) -> None:
        """Load what should be live when the service starts.

        Raises:
            ServiceError: no version of the default model can be used; says why the one that should be live cannot.
        """
        self.check()
        default, failures = self._registry.default, self._failures
        self._failures = {}  # errors hold on to what was loaded when they came
        if default.served is None:
            raise failures.get(default.name) or ModelFolderError(f"{default.name}: expected a version, got none")

    def start(self, publish: Publish) -> None:
        """Begin to watch the source; ``publish`` calls functions on the event loop's thread."""
        self._publish = publish
        self._thread = threading.Thread(target=self._run, name="vaegis-models", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look at the source now, and try versions again that could not be used."""
        self._wake.set()

    def close(self) -> None:
        """End the thread, after the version that it may be loading."""
        self._is_closed = True
        self._wake.set()
        if self._checks is not None:
            self._checks.close()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def check(self, *, is_forced: bool = False) -> None:
        """Load what should be live and is not.

        Args:
            is_forced: Whether versions that could not be used before are tried again.
        """
        try:
            names = self._source.names()
        except ModelFolderError as error:
            # Everything is served as before. GET /models says why the folder is not watched.
            if self._has_changed(self._registry.default.name, str(error), is_forced=is_forced):
                self._fail(self._registry.default.name, None, error)
            return
        for name in names:
            targets = self._source.targets(name)
            try:
                target = next(targets)
            except ModelFolderError as error:
                if self._has_changed(name, str(error), is_forced=is_forced):
                    self._fail(name, None, error)
                continue
            if self._has_changed(name, target, is_forced=is_forced):
                self._load(name, target, targets)
            self._check_shadow(name, is_forced=is_forced)

    def _has_changed(self, name: str, found: Target | str, *, is_forced: bool) -> bool:
        """Return whether what should be live, or why that cannot be known, differs from what was found before."""
        has_changed = is_forced or self._seen.get(name) != found
        self._seen[name] = found
        return has_changed

    def _run(self) -> None:
        settings = self._settings
        while True:
            pause_s = settings.model_poll_s - time.monotonic() % settings.model_poll_s
            is_forced = self._wake.wait(pause_s if settings.model_reload else None)
            self._wake.clear()
            if self._is_closed:
                return
            try:
                self.check(is_forced=is_forced)
            except Exception:  # noqa: BLE001 - the thread must live on, whatever a file or a file system holds
                _LOG.exception("unexpected error while models were loaded")

    def _load(self, name: str, wanted: Target, older: Iterable[Target]) -> None:
        """Load the version that should be live; if it cannot be used and nothing is live, the newest that can be."""
        for target in chain([wanted], older):
            try:
                self._load_one(name, target, is_wanted=target is wanted)
            except Exception as error:  # noqa: BLE001 - of a broken file; what is live stays, and the reason is shown
                if target is wanted:
                    self._fail(name, target.version, error)
            if self._registry.live_of(name) is not None:
                return

    def _load_one(self, name: str, target: Target, *, is_wanted: bool) -> None:
        started = time.monotonic()
        data = _read(target, self._settings)
        live = self._registry.live_of(name)
        if live is not None and content_digest(data) == live.artifact.digest:
            self._publish(partial(self._registry.keep, name, target.version))
            return
        artifact, is_checked = self._opened(target, data)
        if live is not None and not target.allow_schema_change:
            difference = schema_difference(live.artifact.contract.columns, artifact.contract.columns)
            if difference is not None:
                raise ArtifactError(
                    f"{target.path}: expected the columns of the live version, got others: {difference}; "
                    "--allow-schema-change lets them change"
                )
        served = self._registry.new_served(artifact, name, target.version)
        served.warm_up(is_checked=is_checked)
        took_s = time.monotonic() - started
        if took_s > self._settings.model_timeout_s:
            raise ArtifactError(
                f"{target.path}: loading took {took_s:.0f} s (limit {self._settings.model_timeout_s:g} s); "
                "VAEGIS_MODEL_TIMEOUT_S gives it longer"
            )
        self._publish(partial(self._swap, served, is_wanted=is_wanted))
        self._seen_shadows.pop(name, None)  # what was compared with the version before is compared anew
        fields = {"model": name, "version": served.version, "digest": artifact.digest, "took_s": round(took_s, 3)}
        _LOG.info("model changed", extra={"fields": fields})

    def _check_shadow(self, name: str, *, is_forced: bool) -> None:
        target = None
        try:
            target = self._source.shadow(name)
            if not is_forced and self._seen_shadows.get(name) == target:
                return
            self._seen_shadows[name] = target
            live = self._registry.live_of(name)
            if live is None:
                return
            candidate = None if target is None else self._candidate(name, target, live.artifact)
            self._publish(partial(self._registry.set_shadow, name, candidate))
        except Exception as error:  # noqa: BLE001 - of a broken file; the live version stays, and the reason is shown
            self._fail(name, None if target is None else target.version, error, self._registry.fail_shadow)

    def _candidate(self, name: str, target: Target, live: Artifact) -> ServedModel:
        artifact, is_checked = self._opened(target, _read(target, self._settings))
        difference = schema_difference(live.contract.columns, artifact.contract.columns)
        read, wanted = (
            [(column.name, column.kind) for column in each.contract.columns.of_records.columns]
            for each in (artifact, live)
        )
        if difference is not None or read != wanted:
            raise ArtifactError(
                f"{target.path}: expected the columns of the live version in shadow, got others: "
                f"{difference or 'another order'}"
            )
        candidate = self._registry.new_served(artifact, name, target.version)
        candidate.warm_up(is_checked=is_checked)
        return candidate

    def _opened(self, target: Target, data: bytes) -> tuple[Artifact, bool]:
        """Return a version, and whether its decoder was checked too. Before `start`, no request waits meanwhile."""
        path = str(target.path)
        checks = None if self._thread is None else self._checks
        optimized = None if checks is None else checks.optimized(data, path)
        return opened_content(data, path, self._settings, optimized), optimized is not None

    def _swap(self, served: ServedModel, *, is_wanted: bool) -> None:
        self._registry.swap(served)
        if is_wanted:
            self._registry.keep(served.name, None)
        self._on_swap(served.artifact.digest)

    def _fail(
        self,
        name: str,
        version: str | None,
        error: Exception,
        note: Callable[[str, str | None, str], None] | None = None,
    ) -> None:
        """Log and publish why a version cannot be used. The text of an error that is not ours may quote a record."""
        if self._is_closed:
            return  # the check was ended with the service
        reason = str(error) if isinstance(error, ServiceError) else f"internal error ({type(error).__name__})"
        _LOG.error("version cannot be used", extra={"fields": {"model": name, "version": version, "reason": reason}})
        if self._thread is None:
            self._failures.setdefault(name, error)
        self._publish(partial(note or self._registry.fail, name, version, reason))


def _read(target: Target, settings: Settings) -> bytes:
    if target.digest is not None and not target.path.exists():
        raise ModelFolderError(
            f"{target.path}: no such file, but {target.path.with_name(POINTER_FILE)} names version {target.version!r}; "
            "put it back, or let `vaegis promote` choose another"
        )
    data = read_model_file(target.path, Expected(settings.model_digest, settings.model_public_key))
    if target.digest is not None:
        require_promoted(target.path, data, target.digest)
    return data
