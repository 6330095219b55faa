"""Invented records with columns of every kind, by schema; and graphs exported once for all tests that need them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from vaegis.service.columns import Columns
from vaegis.service.contract import GeneratorDocument, Schema
from vaegis.training.config import FitSettings, SplitSettings
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.row_location import RowLocation
from vaegis.training.data.sampling import Sample
from vaegis.training.data.schema import build_schema, category_codes, columns_of
from vaegis.training.data.splits import Splits, split_at_random
from vaegis.training.export.model_file import ScoringModel, generator_document, scoring_model
from vaegis.training.fit import Epoch, Fitted, fit
from vaegis.training.model.neighbours import neighbours_of
from vaegis.training.model.pairs import pairs_of
from vaegis.training.model.preprocessing import Values
from vaegis.training.model.score import ScoringGraph, typical_terms
from vaegis.training.model.vae import VAE

# The tensors here are tiny: threads gain nothing, and on a busy machine their waiting for each other costs minutes.
torch.set_num_threads(1)

KINDS = {
    "amount": "numeric",
    "items": "numeric",
    "weight": "numeric",
    "express": "boolean",
    "country": "categorical",
    "size": "categorical",
    "placed_at": "timestamp",
    "sent_at": "timestamp",
    "depth": "numeric",
}
"""A column of each kind and more of some, not sorted by kind: what is put in order must be put back."""
ORDER = ("country", "amount", "placed_at", "express", "size", "weight")


@dataclass(frozen=True, repr=False)  # Hypothesis shows the arguments of a test that fails: too long a text
class Prepared:
    """Records, ready for a model."""

    schema: Schema
    columns: Columns

    def model(self, *, latent_dim: int = 3, hidden: int = 16, seed: int = 0, members: int = 1) -> VAE:
        torch.manual_seed(seed)
        return VAE(self.schema, latent_dim=latent_dim, hidden=hidden, records=len(self.columns), members=members)

    def values(self, vae: VAE) -> Values:
        with torch.no_grad():
            return vae.preprocessing(torch.from_numpy(self.columns.numbers), category_codes(self.columns, self.schema))


def table(records: int, seed: int = 0, *, missing_share: float = 0.1) -> pa.Table:
    """Return records whose columns depend on one hidden level; size is never null."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=records)

    def sometimes(values: np.ndarray) -> pa.Array:
        return pa.array(values, mask=rng.random(records) < missing_share)

    return pa.table(
        {
            "country": sometimes(np.select([level < -1, level < 0.5], ["DE", "FR"], "IT")),
            "amount": sometimes(np.round(100 + 20 * level + rng.normal(size=records), 2)),
            "placed_at": sometimes(1_704_067_200.0 + 3600.0 * rng.integers(0, 24 * 365, records)),
            "express": sometimes(rng.random(records) < 1 / (1 + np.exp(-2 * level))),
            "size": np.where(rng.random(records) < 0.7, "S", "L"),
            "weight": sometimes(level + 0.1 * rng.normal(size=records)),
            "items": np.clip(np.round(3 + level), 1, 5),
            "sent_at": sometimes(1_704_067_200.0 + 3600.0 * rng.integers(0, 24 * 365 * 3, records)),
            "depth": sometimes(np.where(rng.random(records) < 0.1, -999.0, 20 + 3 * level + rng.normal(size=records))),
        }
    )


def prepare(records: pa.Table, names: tuple[str, ...] = ORDER) -> Prepared:
    """Return the named columns of some records, with a schema made of all of them."""
    n = records.num_rows
    sample = Sample(records, np.arange(n), ((0, RowLocation(Path("records"), 1)),))
    plans = tuple(ColumnPlan(name, KINDS[name], "") for name in names)
    schema = build_schema(plans, sample, np.arange(n), max_categories=100)
    return Prepared(schema, columns_of(sample, schema))


@pytest.fixture(scope="session")
def new_records() -> Callable[..., Prepared]:
    """Make records: `new_records(n, names=..., seed=..., missing_share=...)`."""

    def make(records: int, *, names: tuple[str, ...] = ORDER, **details: object) -> Prepared:
        return prepare(table(records, **details), names)

    return make


@pytest.fixture(scope="session")
def prepared() -> Prepared:
    """200 records with all kinds of column."""
    return prepare(table(200))


@pytest.fixture(scope="session")
def numeric_values() -> Callable[[torch.Tensor], Values]:
    """Make records of numeric columns alone, (..., n, d)."""

    def make(x: torch.Tensor) -> Values:
        nothing = torch.zeros((*x.shape[:-1], 0))
        observed = torch.ones(x.shape, dtype=torch.bool)
        return Values(x, nothing, nothing, nothing, nothing.long(), observed, nothing, nothing)

    return make


@pytest.fixture(scope="session")
def new_sample() -> Callable[[pa.Table], Sample]:
    """Make a sample that holds all records of a table."""

    def make(records: pa.Table) -> Sample:
        return Sample(records, np.arange(records.num_rows), ((0, RowLocation(Path("records.csv"), 1)),))

    return make


@pytest.fixture(scope="session")
def quick_fit() -> Callable[..., Fitted]:
    """Fit a model in a second or two: `quick_fit(vae, values, on_epoch=..., members=..., **settings)`.

    Without `members`, a matrix of the records of each, every member is fitted to all of them.
    """

    def run(
        vae: VAE,
        values: Values,
        on_epoch: Callable[[Epoch], None] = lambda _: None,
        members: torch.Tensor | None = None,
        **settings: object,
    ) -> Fitted:
        chosen = FitSettings.model_validate({"steps": 60, "batch_size": 32, "draws": 4, "exemplars": 32} | settings)
        generator = torch.Generator().manual_seed(chosen.seed)
        everyone = torch.arange(len(values.observed)).expand(vae.members, -1)
        return fit(vae, values, everyone if members is None else members, chosen, generator, on_epoch)

    return run


@pytest.fixture(scope="session")
def graph_of() -> Callable[..., ScoringGraph]:
    """Make the scoring graph of a fit: `graph_of(fitted, schema, values, members)`, with the records of each member."""

    def make(fitted: Fitted, schema: Schema, values: Values, members: torch.Tensor) -> ScoringGraph:
        typical = typical_terms(fitted.vae, schema, values, members, fitted.exemplars, fitted.noise)
        near = neighbours_of(schema, values, members, torch.Generator().manual_seed(0))
        pairs = pairs_of(schema, values, members)
        return ScoringGraph(fitted.vae, schema, fitted.exemplars, fitted.noise, typical, near, pairs).eval()

    return make


@dataclass(frozen=True)
class Exported:
    """A model fitted for a moment, and its graph."""

    prepared: Prepared
    splits: Splits
    fitted: Fitted
    model: ScoringModel

    @property
    def held_out(self) -> list[Columns]:
        """For each member, the records that it was not fitted to."""
        return [self.prepared.columns.rows(rows) for rows in self.splits.calibration]


COLUMNS_OF_SCHEMA = {
    "numeric": ("amount", "weight"),
    "categorical": ("country", "size"),
    "boolean": ("express",),
    "timestamp": ("placed_at",),
    "dates": ("placed_at", "weight", "sent_at"),
    "few values": ("items", "weight"),
    "placeholders": ("country", "depth", "placed_at", "weight"),
    "all": ORDER,
}
MIXES_OF_KINDS = {
    "-".join(kinds): tuple(name for name in ORDER for kind in kinds if name in COLUMNS_OF_SCHEMA[kind])
    for size in (2, 3)
    for kinds in itertools.combinations(("numeric", "categorical", "boolean", "timestamp"), size)
}


@pytest.fixture(scope="session")
def new_export(quick_fit: Callable[..., Fitted], graph_of: Callable[..., ScoringGraph]) -> Callable[..., Exported]:
    """Export the graph of a schema, once, in seconds: `new_export("all", members=3)`."""
    made: dict[tuple[str, int], Exported] = {}

    def export(name: str, members: int = 1) -> Exported:
        if (name, members) not in made:
            prepared = prepare(table(200), (COLUMNS_OF_SCHEMA | MIXES_OF_KINDS)[name])
            folds = {"method": "split"} if members == 1 else {"method": "cross", "folds": members}
            settings = SplitSettings.model_validate(folds)
            splits = split_at_random(200, settings, np.random.default_rng(0), most_calibrating=200)
            vae = prepared.model(hidden=8, members=members)
            values, rows = prepared.values(vae), torch.from_numpy(splits.fit)
            fitted = quick_fit(vae, values, members=rows, steps=10)
            module = graph_of(fitted, prepared.schema, values, rows)
            made[name, members] = Exported(prepared, splits, fitted, scoring_model(module, prepared.schema))
        return made[name, members]

    return export


@pytest.fixture(params=itertools.product(COLUMNS_OF_SCHEMA, (1, 3)), ids=lambda of: f"{of[0]}-{of[1]}", scope="session")
def exported(request: pytest.FixtureRequest, new_export: Callable[..., Exported]) -> Exported:
    """The graph of each schema in turn, by one member, and by three fitted to two folds of three each."""
    return new_export(*request.param)


@pytest.fixture(params=MIXES_OF_KINDS, scope="session")
def exported_mix(request: pytest.FixtureRequest, new_export: Callable[..., Exported]) -> Exported:
    """The graph of each mix of two or three kinds of column in turn, by one member."""
    return new_export(request.param)


@pytest.fixture(scope="session")
def exported_all(new_export: Callable[..., Exported]) -> Exported:
    """The graph of the schema with all kinds of column, by one member."""
    return new_export("all")


@pytest.fixture(scope="session")
def generator(exported_all: Exported) -> GeneratorDocument:
    """The decoder of that model, as the metadata hold it."""
    return generator_document(exported_all.fitted, exported_all.prepared.schema)
