"""Generation: draws from the prior, decoded into new plausible records.

Columns that are checked alone get values of their own, which have nothing to do with the others. Columns that are not
read are left out.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import Contract, GeneratorDocument, Schema, StringColumn, Value, WatchedColumn
from vaegis.service.draws import DecodedColumn, possible
from vaegis.service.errors import ArtifactError
from vaegis.service.graph import open_graph
from vaegis.service.onnx_model import read_model
from vaegis.service.records.kinds import kind_of
from vaegis.service.runtime import DEFAULT_LIMITS, GraphError, RunLimits, Session

BLOCK_RECORDS = 1024
"""Records that share one random stream; always decoded together, so that any part of them comes out the same."""

DEFAULT_TEMPERATURE = 0.5
"""Share of a kernel's width by which draws step aside of their exemplar, see `Generator`."""

HIGHEST_TEMPERATURE = 2.0
"""What commands and requests may ask for; above, draws are far from any record."""

_SEEDS = 2**53  # a drawn seed survives readers that keep numbers as doubles
_OUTPUTS = ("location", "missing", "categories")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Generated records by column.

    Attributes:
        values: One array of shape (n,) for each column of `Schema.of_records`. Numeric: float64, whole where
            `is_integral` says so. Boolean: bool. Categorical: str objects. Timestamp: float64, seconds since
            1970-01-01T00:00:00Z. What stands where a value is null has no meaning.
        missing: Shape (n, D); True where the value is null.
    """

    values: tuple[NDArray[Any], ...]
    missing: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.missing)

    def rows(self, index: slice) -> Drawn:
        """Return the records at ``index``."""
        return Drawn(tuple(values[index] for values in self.values), self.missing[index])


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the decoder says of the columns of n records.

    Attributes:
        location: Shape (n, D). Numeric: mean in the column's unit. Boolean: P(true). Others 0.
        missing: P(null), shape (n, D).
        categories: For each categorical column the probabilities of its categories, for each timestamp column
            those of 24 hours and of 7 weekdays; shapes (n, size), by schema position.
    """

    location: NDArray[np.float64]
    missing: NDArray[np.float64]
    categories: dict[int, tuple[NDArray[np.float64], ...]]


class Generator:
    """The decoder of one artifact. It keeps nothing between calls and may be called from several threads.

    Draws are z = exemplar + temperature * width * noise. A temperature of 1 draws from the prior itself, whose kernels
    are wide enough to cover normal records that training did not see; below, records are more like the known ones, and
    at 0 they are the exemplars decoded. `docs/model.md` has what each does to their likeness and distance.
    """

    def __init__(self, contract: Contract, limits: RunLimits = DEFAULT_LIMITS) -> None:
        """Load the decoder.

        Args:
            contract: The model's documents.
            limits: Limits of one run of the decoder, of up to `BLOCK_RECORDS` records.

        Raises:
            ArtifactError: the decoder does not load, holds what vaegis-train does not write, or does not fit the
                schema.
        """
        self.schema = contract.columns.of_records
        """By which it draws records."""
        self._decoded = contract.columns
        self._generator = contract.generator
        self._slots = _slots(self._decoded)
        self._outputs = _OUTPUTS if self._slots else _OUTPUTS[:2]
        self._session = _opened(contract, limits)
        self._check()

    def draw(self, count: int, seed: int, temperature: float | None = None) -> list[dict[str, Value]]:
        """Return generated records in the form that `POST /score` takes.

        Args:
            count: Number of records.
            seed: Not negative. The same seed gives the same records, and a larger count begins with those of a smaller.
            temperature: At least 0; None is `DEFAULT_TEMPERATURE`.
        """
        parts = self.chunks(count, seed, temperature=temperature)
        return [record for part in parts for record in records_of(self.schema, part)]

    def draw_columns(self, count: int, seed: int, temperature: float | None = None) -> Drawn:
        """Return the records of `draw` by column."""
        return self._rows(seed, 0, count, temperature)

    def chunks(
        self, count: int, seed: int, size: int = BLOCK_RECORDS, *, temperature: float | None = None
    ) -> Iterator[Drawn]:
        """Yield the records of `draw` in parts of ``size``, the last one shorter; memory grows with ``size`` alone.

        Whole multiples of `BLOCK_RECORDS` are the fastest sizes.
        """
        for start in range(0, count, size):
            yield self._rows(seed, start, min(start + size, count), temperature)

    def _rows(self, seed: int, start: int, stop: int, temperature: float | None) -> Drawn:
        """Return records ``start`` up to ``stop`` of a seed."""
        first, last = start // BLOCK_RECORDS, max(start, stop - 1) // BLOCK_RECORDS
        blocks = [self._block(seed, index, temperature) for index in range(first, last + 1)]
        values = tuple(np.concatenate(parts) for parts in zip(*(block.values for block in blocks), strict=True))
        whole = Drawn(values, np.concatenate([block.missing for block in blocks]))
        return whole.rows(slice(start - first * BLOCK_RECORDS, stop - first * BLOCK_RECORDS))

    def _block(self, seed: int, index: int, temperature: float | None) -> Drawn:
        """Return block ``index`` of the records of a seed, always `BLOCK_RECORDS` of them."""
        random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        exemplar = random.integers(self._generator.exemplars, size=BLOCK_RECORDS)
        return self.draw_near(exemplar, random, temperature)

    def draw_near(
        self, exemplar: NDArray[np.int64], random: np.random.Generator, temperature: float | None = None
    ) -> Drawn:
        """Return one record for each of these exemplars.

        Args:
            exemplar: Positions of exemplars, at most `BLOCK_RECORDS`.
            random: Source of the draws.
            temperature: As in `draw`.
        """
        aside = DEFAULT_TEMPERATURE if temperature is None else temperature
        noise = np.float32(aside) * _kernel_noise(self._generator, len(exemplar), random)
        decoded = self._decode(exemplar, noise)
        values: list[NDArray[Any]] = []
        for i, column in enumerate(self._decoded.columns):
            of_column = DecodedColumn(decoded.location[:, i], decoded.categories.get(i, ()))
            values.append(kind_of(column).draw(column, of_column, random))
        shares = [column.missing_share for column in self._decoded.columns]
        missing = random.random(decoded.missing.shape) < possible(decoded.missing, np.array(shares))
        if watched := self._decoded.watched:
            values += [_drawn_watched(column, len(missing), random) for column in watched]
            nulls = random.random((len(missing), len(watched))) < [column.missing_share for column in watched]
            missing = np.concatenate([missing, nulls], axis=1)
        return Drawn(tuple(values), missing)

    def decode_exemplars(self, exemplar: NDArray[np.int64]) -> Decoded:
        """Return the distributions that these exemplars decode to, at most `BLOCK_RECORDS` of them."""
        return self._decode(exemplar, np.zeros((len(exemplar), self._generator.latent_dim), dtype=np.float32))

    def _decode(self, exemplar: NDArray[np.int64], noise: NDArray[np.float32]) -> Decoded:
        outputs = self._session.run(list(self._outputs), {"exemplar": exemplar, "latent_noise": noise})
        location, missing, *slots = (output.astype(np.float64) for output in outputs)
        categories = {position: tuple(slots[0][:, part] for part in parts) for position, parts in self._slots.items()}
        return Decoded(location, missing, categories)

    def _check(self) -> None:
        """Decode one draw of the last exemplar, and compare the shapes with what the schema asks for."""
        exemplar = np.array([self._generator.exemplars - 1])
        noise = np.zeros((1, self._generator.latent_dim), dtype=np.float32)
        try:
            outputs = self._session.run(list(self._outputs), {"exemplar": exemplar, "latent_noise": noise})
        except Exception as error:  # onnxruntime's exceptions share no base below Exception
            raise ArtifactError(f"generator: expected a decoder of {noise.shape[1]} latents, got: {error}") from error
        columns = len(self._decoded.columns)
        slots = [parts[-1].stop for parts in self._slots.values()]
        expected = [(1, columns), (1, columns), *([(1, max(slots))] if slots else [])]
        given = [output.shape for output in outputs]
        if given != expected:
            raise ArtifactError(f"generator: expected outputs of the shapes {expected}, got {given}")


def exemplars_of(contract: Contract) -> NDArray[np.float64]:
    """Return the exemplars of the prior in latent space, shape (exemplars, latent_dim).

    Raises:
        ArtifactError: the decoder does not hold them as one finite table of that shape.
    """
    generator = contract.generator
    expected = (generator.exemplars, generator.latent_dim)
    try:
        table = read_model(memoryview(base64.b64decode(generator.model, validate=True))).table_indexed_by("exemplar")
    except (binascii.Error, ValueError) as error:
        raise ArtifactError(f"generator: expected a complete ONNX model in base64, got: {error}") from error
    if table is None or table.shape != expected or not np.isfinite(table).all():
        raise ArtifactError(f"generator: expected a table of finite exemplars of the shape {expected}")
    return table.astype(np.float64)


def drawn_seed() -> int:
    """Return a random seed."""
    return secrets.randbelow(_SEEDS)


def _kernel_noise(generator: GeneratorDocument, count: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Draw from the prior's kernel at width one, a multivariate Student-t: one chi-square a record, shared."""
    normal = random.standard_normal((count, generator.latent_dim))
    chi_square = random.chisquare(generator.degrees_of_freedom, (count, 1))
    noise: NDArray[np.float32] = (normal / np.sqrt(chi_square / generator.degrees_of_freedom)).astype(np.float32)
    return noise


def records_of(schema: Schema, drawn: Drawn) -> list[dict[str, Value]]:
    """Return generated records as JSON writes them: whole numbers as integers, instants in ISO 8601, in UTC."""
    columns: list[list[Value]] = []
    for i, (column, values) in enumerate(zip(schema.columns, drawn.values, strict=True)):
        shown = kind_of(column).drawn_json(column, values)
        nulls = drawn.missing[:, i].tolist()
        columns.append([None if null else value for value, null in zip(shown, nulls, strict=True)])
    return [dict(zip(schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def _drawn_watched(column: WatchedColumn, count: int, random: np.random.Generator) -> NDArray[Any]:
    """Draw values of a column that the decoder knows nothing of: evenly from its range, or by its patterns' shares."""
    if isinstance(column, StringColumn):
        decoded = DecodedColumn(np.zeros(count), (np.tile(column.shares, (count, 1)),))
    else:
        decoded = DecodedColumn(random.uniform(column.minimum, column.maximum, count))
    return kind_of(column).draw(column, decoded, random)


def _slots(schema: Schema) -> dict[int, tuple[slice, ...]]:
    """Return where in the output `categories` each column that has probabilities there has them."""
    slots: dict[int, tuple[slice, ...]] = {}
    end = 0
    for position, column in enumerate(schema.columns):
        sizes = kind_of(column).category_sizes(column)
        if not sizes:
            continue
        ends = end + np.cumsum(sizes)
        slots[position] = tuple(slice(int(e) - size, int(e)) for e, size in zip(ends, sizes, strict=True))
        end = int(ends[-1])
    return slots


def _opened(contract: Contract, limits: RunLimits) -> Session:
    """Open the decoder that a contract holds."""
    try:
        model = base64.b64decode(contract.generator.model, validate=True)
        return open_graph(memoryview(model), limits)
    except (binascii.Error, ValueError) as error:
        raise ArtifactError(f"generator: expected a complete ONNX model in base64, got: {error}") from error
    except GraphError as error:
        raise ArtifactError(f"generator: expected a graph that onnxruntime runs, got: {error}") from error
