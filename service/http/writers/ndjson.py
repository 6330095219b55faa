"""Verdicts as NDJSON: one object a line for each record."""

from __future__ import annotations

import msgspec

from vaegis.service.explanations import Contribution
from vaegis.service.http.writers.writing import finite_numbers
from vaegis.service.reasons import Reason
from vaegis.service.records.blocks import Block, in_order
from vaegis.service.records.faults import ErrorFields, error_fields
from vaegis.service.verdicts import Verdicts

_ENCODER = msgspec.json.Encoder()


class Line(msgspec.Struct, gc=False):
    """The fields of a line, in the order in which they are written."""

    row: int
    score: float | None = None
    p_value: float | None = None
    is_anomaly: bool | None = None
    elbo: float | None = None
    reconstruction_error: float | None = None
    kl: float | None = None
    latent_contribution: float | None = None
    reasons: tuple[Reason, ...] | None = None
    contributions: tuple[Contribution, ...] | None = None
    errors: list[ErrorFields] | None = None


class NdjsonWriter:
    """Writes one line a record."""

    def start(self) -> bytes:
        """Return nothing."""
        return b""

    def part(self, block: Block, verdicts: Verdicts) -> bytes:
        """Return the lines of a block."""
        return _ENCODER.encode_lines(lines_of(block, verdicts))

    def end(self) -> bytes:
        """Return nothing."""
        return b""


def lines_of(block: Block, verdicts: Verdicts) -> list[Line]:
    """Return the lines of a block.

    Raises:
        ValueError: A verdict holds NaN or an infinity.
    """
    score, p_value, elbo, error, kl, latent = finite_numbers(verdicts)
    rows = range(block.first_row, block.first_row + block.records)
    sound = [row for row in rows if row - block.first_row not in block.faults] if block.faults else rows
    lines = map(
        Line,
        sound,
        score,
        p_value,
        verdicts.is_anomaly.tolist(),
        elbo,
        error,
        kl,
        latent,
        verdicts.reasons,
        verdicts.contributions,
    )
    faulty = (Line(block.first_row + row, errors=error_fields(faults)) for row, faults in block.faults.items())
    return in_order(block, list(lines), faulty)
