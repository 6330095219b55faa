"""Where results are written, and under which conditions they were measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic_core import to_jsonable_python

from benchmarks.conditions import command_line, measured_on
from benchmarks.quality.measure import Case
from benchmarks.quality.options import Options
from benchmarks.quality.protocol import ALL
from benchmarks.quality.sources import library_versions


class Measurement(Protocol):
    """A row of any benchmark of this package: a pydantic model."""

    @property
    def commit(self) -> str:
        """On which the code stood."""
        ...

    def model_dump(self, *, mode: str, exclude: set[str]) -> dict[str, Any]:
        """Return it for JSON, without some of its fields."""
        ...


def result_stem(name: str, wanted: str) -> str:
    """Return the name of a result file, which tells the sets where they are not all."""
    return name if wanted == ALL else f"{name}-{wanted.replace(',', '-')}"


def write_results(
    stem: str, command: str, figures: Mapping[str, object], rows: Sequence[Measurement], options: Options
) -> None:
    """Write ``<stem>.json``: command, figures, rows and conditions.

    Args:
        stem: Name of the file without its extension.
        command: As it is called, without its arguments.
        figures: What the rows add up to.
        rows: All of them.
        options: Of the command; the folder of the results and the settings.
    """
    document = {
        "command": command_line(command),
        **figures,
        "settings": options.config.model_dump(mode="json"),
        "libraries": library_versions(),
        "measured_on": {
            **measured_on(),
            "commit": sorted({row.commit for row in rows}),
            "processes": options.processes,
        },
        "rows": [row.model_dump(mode="json", exclude={"key"}) for row in rows],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_jsonable_python(document), indent=2)
    (options.output / f"{stem}.json").write_text(text + "\n", encoding="utf-8")


def conditions_in_words(rows: Sequence[Measurement]) -> str:
    """Return machine, commit and versions in one line."""
    conditions = measured_on()
    libraries = ", ".join(f"{name} {number}" for name, number in library_versions().items())
    commits = " and ".join(sorted({row.commit for row in rows}))
    return (
        f"Commit {commits}; {conditions['date']}; {conditions['cpu']}, {conditions['cores']} cores; "
        f"Python {conditions['python']}, {libraries}."
    )


def incomplete(failed: Sequence[Case]) -> str:
    """Return the line that a page of results starts with when cases are missing."""
    names = ", ".join(f"{case.set_name} seed {case.seed}" for case in failed)
    return f"**Not complete: {names} could not be measured.**"
