"""Request bodies: the same records in every format that the service reads, as files that load generators send."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from benchmarks.serving.models import COLUMNS, KEPT, records

JSON: Final = "json"
_LIVE_SEED: Final = 7
_MOST_BODIES: Final = 64
_RECORDS_OF_A_KIND: Final = 4000  # in all bodies of one size together, where they are small

Rows = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Bodies:
    """Bodies of one format and size, which are sent in turn.

    Attributes:
        name: Format and records of each.
        media_type: What they are declared as; the answer is asked for in the same.
        records: In each.
        files: One each.
    """

    name: str
    media_type: str
    records: int
    files: tuple[Path, ...]


def written_bodies(
    form: str, n: int, folder: Path = KEPT, *, formats: Mapping[str, tuple[str, Callable[[Rows], bytes]]] | None = None
) -> Bodies:
    """Return bodies of ``n`` records each, written to files.

    Args:
        form: A name of ``formats``.
        n: Records of a body; one alone goes as an object, not as a list of one.
        folder: Where the files go.
        formats: Media types and writers by name; `FORMATS` where None.
    """
    media_type, write = (FORMATS if formats is None else formats)[form]
    count = max(2, min(_MOST_BODIES, _RECORDS_OF_A_KIND // n))
    rows = records(count * n, seed=_LIVE_SEED).tolist()
    name = f"{form}-{n}"
    (folder / name).mkdir(parents=True, exist_ok=True)
    files = tuple(folder / name / str(i) for i in range(count))
    for i, file in enumerate(files):
        file.write_bytes(write(rows[i * n : (i + 1) * n]))
    return Bodies(name, media_type, n, files)


def json_body(rows: Rows) -> bytes:
    """Return a JSON list of objects, or the one object, without blanks."""
    records = objects(rows)
    return json_bytes(records[0] if len(records) == 1 else records)


def ndjson_body(rows: Rows) -> bytes:
    """Return an object a line."""
    return b"".join(json_bytes(each) + b"\n" for each in objects(rows))


def csv_body(rows: Rows) -> bytes:
    """Return a header and a line a record."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue().encode()


def arrow_body(rows: Rows) -> bytes:
    """Return an Arrow IPC stream of float64 columns, in batches of at most 8,192 records."""
    table = pa.table(dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=8192)
    return sink.getvalue()


FORMATS: Final[dict[str, tuple[str, Callable[[Rows], bytes]]]] = {
    JSON: ("application/json", json_body),
    "ndjson": ("application/x-ndjson", ndjson_body),
    "csv": ("text/csv", csv_body),
    "arrow": ("application/vnd.apache.arrow.stream", arrow_body),
}
"""Media type and writer of each format."""


def objects(rows: Rows) -> list[dict[str, float]]:
    """Return each record as an object."""
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def json_bytes(document: object) -> bytes:
    """Return JSON without blanks."""
    return json.dumps(document, separators=(",", ":")).encode()
