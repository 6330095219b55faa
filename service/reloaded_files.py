"""What is read from files, and read again when one of them changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from vaegis.service.errors import SettingsError
from vaegis.service.model_folder import stamp_of

CHECK_INTERVAL_S: Final = 1.0
"""Least time between two looks at the files."""

_Content = TypeVar("_Content")


class ReloadedFiles(Generic[_Content]):
    """The content of files, as it is now. What cannot be read leaves the old content, and is tried again."""

    def __init__(
        self,
        files: Sequence[Path],
        read: Callable[[], _Content],
        on_reload: Callable[[SettingsError | None], None],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the files.

        Args:
            files: Where a change is looked for; links are followed.
            read: Reads them; raises `SettingsError` if they cannot be used.
            on_reload: Called once after each change, with why the files cannot be used, or None if they can.
            now: Clock, in seconds.
        """
        self._files = files
        self._read = read
        self._on_reload = on_reload
        self._now = now
        self._stamps = self._stamps_now()
        self._content = read()
        self._failure: tuple[object, str] | None = None
        self._next_check = now() + CHECK_INTERVAL_S

    def content(self) -> _Content:
        """Return the newest content that can be used. Not thread-safe."""
        if self._files and self._now() >= self._next_check:
            self._next_check = self._now() + CHECK_INTERVAL_S
            self._reload_if_changed()
        return self._content

    def _reload_if_changed(self) -> None:
        stamps = self._stamps_now()
        if stamps == self._stamps and self._failure is None:
            return
        self._stamps = stamps
        try:
            self._content = self._read()
        except SettingsError as error:
            failure = stamps, str(error)
            if failure != self._failure:  # reported once, however often it is tried
                self._on_reload(error)
            self._failure = failure
        else:
            self._failure = None
            self._on_reload(None)

    def _stamps_now(self) -> list[object]:
        return [stamp_of(file) for file in self._files]
