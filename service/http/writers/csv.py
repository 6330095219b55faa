"""Verdicts as CSV with a header: lists are JSON text, and what is null is blank."""

from __future__ import annotations

from itertools import chain
from typing import Final

import msgspec

from service.http.writers.ndjson import Line
from service.http.writers.writing import error_fields, in_order, require_finite
from service.records.stream.blocks import Block
from service.verdicts import Verdicts

_ENCODER = msgspec.json.Encoder()
_NAMES: Final = Line.__struct_fields__
_NO_LISTS: Final = b",[],,"
"""What ends a record that is neither flagged nor explained."""


class CsvWriter:
    """Writes one line a record (RFC 4180, lines ended by a line feed)."""

    def start(self) -> bytes:
        """Return the header."""
        return ",".join(_NAMES).encode() + b"\n"

    def part(self, block: Block, verdicts: Verdicts) -> bytes:
        """Return the lines of a block.

        Raises:
            ValueError: A verdict holds NaN or an infinity.
        """
        require_finite(verdicts)
        rows = range(block.first_row, block.first_row + block.records)
        sound = [row for row in rows if row - block.first_row not in block.faults] if block.faults else rows
        values = zip(
            sound,
            verdicts.score.tolist(),
            verdicts.p_value.tolist(),
            verdicts.is_anomaly.tolist(),
            verdicts.elbo.tolist(),
            verdicts.reconstruction_error.tolist(),
            verdicts.kl.tolist(),
            verdicts.latent_contribution.tolist(),
            strict=True,
        )
        # The JSON encoder writes a number in a tenth of the time that Python takes.
        starts = _ENCODER.encode(list(values))[2:-2].split(b"],[") if len(verdicts) else []
        ends = [_NO_LISTS] * len(verdicts)
        for row, (reasons, contributions) in enumerate(zip(verdicts.reasons, verdicts.contributions, strict=True)):
            if reasons or contributions is not None:
                ends[row] = b",%b,%b," % (_cell(reasons), b"" if contributions is None else _cell(contributions))
        lines = list(map(bytes.__add__, starts, ends))
        blank = b"," * (len(_NAMES) - 1)
        faulty = (
            b"%d%b%b" % (block.first_row + row, blank, _cell(error_fields(faults)))
            for row, faults in block.faults.items()
        )
        return b"\n".join(chain(in_order(block, lines, faulty), (b"",)))

    def end(self) -> bytes:
        """Return nothing."""
        return b""


def _cell(items: object) -> bytes:
    return b'"' + _ENCODER.encode(items).replace(b'"', b'""') + b'"'
