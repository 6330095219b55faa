"""What the writers of all formats have in common: the fields of one verdict, and the metadata of an answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import msgspec
from numpy.typing import NDArray

from vaegis.service.artifact import Artifact
from vaegis.service.http.schemas import shown_digest
from vaegis.service.pvalues import threshold
from vaegis.service.records.blocks import Block
from vaegis.service.verdicts import ARRAYS, FIELDS, OTHERS, Verdicts

NUMBERS: Final = tuple(name for name in ARRAYS if name != "is_anomaly")
"""The fields of verdicts that are numbers."""
VerdictRow: TypeAlias = Any
"""The fields of one verdict, as a struct."""
JSON_END: Final = b"]}"
"""What ends a JSON document of verdicts."""

_ROW: Final = msgspec.defstruct("VerdictRow", FIELDS, gc=False)
_ENCODER: Final = msgspec.json.Encoder()
_OTHERS_OF: Final = attrgetter(*OTHERS)  # a generator would take ten times as long


@dataclass(frozen=True)
class AnswerMetadata:
    """What holds for all verdicts of an answer; `schemas.ScoreAnswer` describes the fields."""

    model: str
    model_digest: str
    alpha: float
    threshold: float
    guarantee: str
    calibration_records: int

    @classmethod
    def by(cls, artifact: Artifact, model: str, alpha: float) -> AnswerMetadata:
        """Return that of a model, which is served by the name ``model``.

        Raises:
            AlphaError: its calibration cannot promise ``alpha``.
        """
        calibration = artifact.contract.calibration
        return cls(
            model=model,
            model_digest=shown_digest(artifact),
            alpha=alpha,
            threshold=threshold(artifact.calibration_folds, alpha),
            guarantee=calibration.method,
            calibration_records=calibration.records,
        )

    @cached_property
    def fields(self) -> Mapping[str, str | float]:
        """The fields by name, as `schemas.ScoreAnswer` has them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @cached_property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The fields as headers of an answer that has no place for them; text is percent-encoded."""
        return [
            (
                f"vaegis-{name.replace('_', '-')}".encode(),
                (quote(v, safe=":") if isinstance(v, str) else repr(v)).encode(),
            )
            for name, v in self.fields.items()
        ]

    @cached_property
    def json_start(self) -> bytes:
        """What comes before the results of a JSON document; commas separate them, and `JSON_END` follows."""
        return _ENCODER.encode(self.fields)[:-1] + b',"results":['


@dataclass(frozen=True, slots=True)
class Writer:
    """How an answer is written in one format.

    Attributes:
        part: Returns the records of a block: of each sound one its verdict, of each other one its faults.
        start: What comes before all records.
        separator: What comes between two parts.
        end: What comes after all records.
    """

    part: Callable[[Block, Verdicts], bytes]
    start: bytes = b""
    separator: bytes = b""
    end: bytes = b""

    def whole(self, parts: Iterable[bytes]) -> bytes:
        """Return an answer of these parts."""
        return self.start + self.separator.join(parts) + self.end


def columns_of(verdicts: Verdicts) -> list[list[Any]]:
    """Return the fields of verdicts as lists, in the order of `FIELDS`.

    Raises:
        ValueError: One of their numbers, or of their contributions', is NaN or infinite, which JSON and CSV cannot say.
    """
    columns: list[list[Any]] = []
    for name in ARRAYS:
        values: NDArray[Any] = getattr(verdicts, name)
        columns.append(values.tolist())
        _require_finite(columns[-1])
    for of_record in filter(None, verdicts.contributions):
        _require_finite([item.contribution for item in of_record])
        _require_finite([item.expected for item in of_record if isinstance(item.expected, float)])
    return [*columns, *_OTHERS_OF(verdicts)]


def rows_of(verdicts: Verdicts) -> list[VerdictRow]:
    """Return verdicts by record, in order. Raises what `columns_of` does."""
    return [*map(_ROW, *columns_of(verdicts))]


def json_rows(rows: Sequence[VerdictRow]) -> bytes:
    """Return at least one verdict as JSON, separated by commas."""
    return _ENCODER.encode(rows)[1:-1]


def json_document(metadata: AnswerMetadata, rows: Sequence[VerdictRow]) -> bytes:
    """Return the answer to a JSON body; `schemas.ScoreAnswer` describes it."""
    return b"".join((metadata.json_start, json_rows(rows), JSON_END))


def _require_finite(values: list[float]) -> None:
    # One sum tells it, unless finite numbers overflow in it.
    if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
        raise ValueError("verdicts: expected finite numbers, got others")
