"""What every writer of verdicts has: a start, a part for each block of records, and an end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote

from vaegis.service.artifact import Artifact
from vaegis.service.http.answers import shown_digest
from vaegis.service.records.blocks import Block
from vaegis.service.verdicts import Verdicts

NUMBERS: Final = ("score", "p_value", "elbo", "reconstruction_error", "kl", "latent_contribution")
"""The fields of verdicts that are numbers."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What holds for all verdicts of an answer.

    Attributes:
        model: Name of the model.
        model_digest: Of its file.
        alpha: Share of normal records that may be flagged.
        threshold: Score above which a record is flagged.
        guarantee: The method behind alpha.
        calibration_records: Scores behind the p-values.
    """

    model: str
    model_digest: str
    alpha: float
    threshold: float
    guarantee: str
    calibration_records: int

    @classmethod
    def by(cls, artifact: Artifact, *, alpha: float, threshold: float) -> Judgement:
        """Return that of a model."""
        calibration = artifact.contract.calibration
        return cls(
            model=artifact.contract.provenance.model_name,
            model_digest=shown_digest(artifact),
            alpha=alpha,
            threshold=threshold,
            guarantee=calibration.method,
            calibration_records=calibration.records,
        )

    def fields(self) -> Mapping[str, str | float]:
        """Return the fields by name, as `answers.ScoreAnswer` has them."""
        return {name: getattr(self, name) for name in self.__slots__}

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the fields as headers of an answer that has no place for them; text is percent-encoded."""
        return [
            (
                f"vaegis-{name.replace('_', '-')}".encode(),
                (quote(v, safe=":") if isinstance(v, str) else repr(v)).encode(),
            )
            for name, v in self.fields().items()
        ]


class Writer(Protocol):
    """Writes one answer."""

    def start(self) -> bytes:
        """Return what comes before all records."""

    def part(self, block: Block, verdicts: Verdicts) -> bytes:
        """Return the records of a block: of each sound one its verdict, of each other one its faults."""

    def end(self) -> bytes:
        """Return what comes after all records."""


def finite_numbers(verdicts: Verdicts) -> list[list[float]]:
    """Return the fields `NUMBERS` of ``verdicts`` as lists.

    Raises:
        ValueError: One of their numbers, or of their contributions', is NaN or infinite, which JSON and CSV cannot say.
    """
    numbers = [getattr(verdicts, name).tolist() for name in NUMBERS]
    for values in numbers:
        _require_finite(values)
    for of_record in filter(None, verdicts.contributions):
        _require_finite([item.contribution for item in of_record])
        _require_finite([item.expected for item in of_record if isinstance(item.expected, float)])
    return numbers


def _require_finite(values: list[float]) -> None:
    # One sum tells it, unless finite numbers overflow in it.
    if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
        raise ValueError("verdicts: expected finite numbers, got others")
