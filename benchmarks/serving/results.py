"""Where results are written, with the command, the machine, the commit and the versions behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic_core import to_jsonable_python

from benchmarks.conditions import RESULTS, command_line, measured_on

_LIBRARIES: Final = (
    "fastapi",
    "httptools",
    "numpy",
    "onnxruntime",
    "orjson",
    "pydantic",
    "pyarrow",
    "uvicorn",
    "uvloop",
)


def write(stem: str, command: str, figures: Mapping[str, object], page: str, folder: Path = RESULTS) -> None:
    """Write ``<stem>.json`` and ``<stem>.md``, and print the page.

    Args:
        stem: Name of the files without their extensions.
        command: As it is called, without its arguments.
        figures: All that was measured.
        page: The same for readers.
        folder: Where the files go.
    """
    document = {
        "command": command_line(command),
        "measured_on": measured_on(),
        "libraries": versions(),
        **figures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_jsonable_python(document), indent=2)
    (folder / f"{stem}.json").write_text(text + "\n", encoding="utf-8")
    (folder / f"{stem}.md").write_text(page, encoding="utf-8")
    print(f"\n{page}\nwritten to {folder / stem}.json and .md")


def conditions() -> str:
    """Return commit, machine and versions in one line."""
    here = measured_on()
    libraries = ", ".join(f"{name} {number}" for name, number in versions().items())
    changes = " with uncommitted changes" if here["uncommitted_changes"] else ""
    return (
        f"Commit {here['commit']}{changes}; {here['date']}; {here['cpu']}, {here['cores']} cores, load average "
        f"{here['load_average']} at the end; Python {here['python']}, {libraries}."
    )


def versions() -> dict[str, str]:
    """Return the versions of what serves and of what loads."""
    return {name: version(name) for name in _LIBRARIES}
