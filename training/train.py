"""A training run from end to end: records in, one verified model file out."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from service.columns import Columns
from service.contract import Provenance, Schema, TimestampColumn
from service.records.files import open_records
from training.calibration import calibrate, check_alpha
from training.config import TrainConfig
from training.data.kinds import ColumnPlan, plan_columns
from training.data.profile import DataProfile
from training.data.sampling import Sample, profile_and_sample
from training.data.schema import build_schema, category_codes, columns_of, with_noise_scales
from training.data.splits import Splits, split_at_random, split_by_time, thinned
from training.export.model_file import check_destination, export, generator_document, scoring_model
from training.fit import Fitted, fit
from training.model.preprocessing import Values
from training.model.score import ScoringGraph, typical_terms
from training.model.vae import VAE
from training.progress import Progress

_LATENT_DIM_RANGE = (2, 32)
_COMPARED_RECORDS = 256


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The records of a run, read, planned and split."""

    profile: DataProfile
    plans: tuple[ColumnPlan, ...]
    sample: Sample
    splits: Splits
    schema: Schema
    columns: Columns


def train(data: Path, output: Path, config: TrainConfig, progress: Progress) -> None:
    """Train on a file or folder of records and write the model file.

    The same records, settings and machine give the same file but for its time of creation. Ctrl-C during the fit
    keeps the best model so far.

    Args:
        data: CSV, Parquet, Arrow or NDJSON: one file or a folder of them, read as a stream.
        output: The model file; replaced in one step, or left alone when anything fails.
        config: All settings.
        progress: Told how the run goes.

    Raises:
        TrainingError, FileError: with the file, row and column at fault where there is one.
    """
    files = open_records(data, max_depth=config.data.max_depth)
    check_destination(output, files.paths)
    seed = config.fit.seed
    random = np.random.default_rng(seed)
    with progress.reading(files.size_bytes) as on_batch:
        profile, sample = profile_and_sample(files, config, random, on_batch)
    prepared = _prepare(profile, sample, config, random, progress)
    torch.set_num_threads(config.fit.threads)
    torch.manual_seed(seed)  # the initial weights; all later draws have the generator below
    fitted, model = _fit(prepared, config, torch.Generator().manual_seed(seed), progress)
    with progress.stage("exporting the graph"):
        schema = with_noise_scales(prepared.schema, fitted.vae.numeric.scale.tolist())
        scoring = scoring_model(model, schema)
        generator = generator_document(fitted, schema)
    with progress.stage("calibrating and verifying"):
        held_out = prepared.columns.rows(prepared.splits.calibration)
        calibration = calibrate(scoring.scorer, held_out, config.calibration.alpha)
        names = tuple(path.name for path in files.paths)
        provenance = _provenance(prepared, config, fitted, names, config.export.model_name or output.stem)
        compared = prepared.columns.rows(prepared.splits.fit[:_COMPARED_RECORDS])
        export(scoring, generator, calibration, provenance, compared, output)
    progress.done(output, calibration, fitted)


def _prepare(
    profile: DataProfile, sample: Sample, config: TrainConfig, random: np.random.Generator, progress: Progress
) -> _Prepared:
    plans = plan_columns(profile, config)
    progress.columns(profile, plans)
    if config.data.time_column is None:
        splits = split_at_random(len(sample), config.splits, random)
    else:
        splits = split_by_time(sample.numbers(config.data.time_column, "timestamp"), config.splits)
    # Splits that give more than they need give a random part; of the rest no use is made.
    splits = replace(
        splits,
        validation=thinned(splits.validation, config.fit.max_validation_records, random),
        calibration=thinned(splits.calibration, config.calibration.max_records, random),
    )
    progress.splits(profile.records, splits)
    check_alpha(config.calibration.alpha, splits.calibration.size)
    schema = build_schema(plans, sample, splits.fit, max_categories=config.kinds.max_categories)
    return _Prepared(profile, plans, sample, splits, schema, columns_of(sample, schema))


def _fit(
    prepared: _Prepared, config: TrainConfig, generator: torch.Generator, progress: Progress
) -> tuple[Fitted, ScoringGraph]:
    schema, splits = prepared.schema, prepared.splits
    vae = VAE(
        schema,
        latent_dim=config.model.latent_dim or default_latent_dim(schema),
        hidden=config.model.hidden,
        records=splits.fit.size,
    )
    records = _values(vae, prepared.columns.rows(splits.fit), schema)
    validation = _values(vae, prepared.columns.rows(splits.validation), schema)
    with progress.fitting() as on_epoch:
        fitted = fit(vae, records, validation, config.fit, generator, on_epoch)
    typical = typical_terms(fitted.vae, validation, fitted.exemplars, fitted.noise)
    return fitted, ScoringGraph(fitted.vae, schema, fitted.exemplars, fitted.noise, typical).eval()


def default_latent_dim(schema: Schema) -> int:
    """Return the width of the latent space: one dimension a column, two a timestamp, within 2 to 32."""
    wanted = len(schema.columns) + sum(isinstance(column, TimestampColumn) for column in schema.columns)
    low, high = _LATENT_DIM_RANGE
    return min(high, max(low, wanted))


def _values(vae: VAE, columns: Columns, schema: Schema) -> Values:
    codes = category_codes(columns, schema)
    with torch.no_grad():
        return Values(*vae.preprocessing(torch.from_numpy(columns.numbers), codes))


def _provenance(
    prepared: _Prepared, config: TrainConfig, fitted: Fitted, sources: tuple[str, ...], name: str
) -> Provenance:
    splits = prepared.splits
    split: Literal["random", "by time"] = "random" if config.data.time_column is None else "by time"
    return Provenance(
        model_name=name,
        created_at=datetime.now(UTC),
        vaegis_version=version("vaegis"),
        torch_version=torch.__version__,
        seed=config.fit.seed,
        sources=sources,
        records={
            "read": prepared.profile.records,
            "sampled": len(prepared.sample),
            "fit": int(splits.fit.size),
            "validation": int(splits.validation.size),
            "calibration": int(splits.calibration.size),
        },
        split=split,
        settings=config.model_dump(mode="json"),
        fit={
            "epochs": fitted.epochs,
            "best_epoch": fitted.best_epoch,
            "validation_loss": fitted.validation_loss,
            "interrupted": fitted.interrupted,
        },
    )
