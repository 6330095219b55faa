"""Read a TOML file of settings, one key for each setting, without tables."""

from __future__ import annotations

import tomllib
from pathlib import Path

from vaegis.service.errors import SettingsError
from vaegis.service.records.column_names import shown


def read_settings_file(path: Path) -> dict[str, object]:
    """Return the values of a file by key. Keys may not be settings.

    Booleans become text, as in a variable, because pydantic would accept them as the numbers 0 and 1.

    Raises:
        SettingsError: the file cannot be read, is not TOML, or holds a table.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: expected UTF-8, got an invalid byte at {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: expected TOML, got: {error}") from error
    for name, value in values.items():
        if isinstance(value, dict | list):
            kind = "a table" if isinstance(value, dict) else "a list"
            raise SettingsError(f"{path}: {shown(name)}: expected one value, got {kind}")
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}
