"""Train from end to end: records in, one verified model file out."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vaegis.service.column_report import column_notes
from vaegis.service.columns import Columns
from vaegis.service.contract import Provenance, Schema
from vaegis.service.files.formats import Dialect
from vaegis.service.files.output import replacing
from vaegis.service.files.record_files import RecordFiles, RecordSource, open_records
from vaegis.service.model import open_model
from vaegis.service.model_file import Expected
from vaegis.service.records.kinds import kind_of
from vaegis.service.report.page import write_report
from vaegis.training.calibration import calibrate, check_alpha, records_left_out
from vaegis.training.checks import with_checks
from vaegis.training.config import TIME_KIND, TrainConfig, with_overrides
from vaegis.training.data.hints.code_numbers import with_code_advice
from vaegis.training.data.hints.envelopes import check_no_list_of_records, envelope_hint
from vaegis.training.data.hints.groups import group_column_hint
from vaegis.training.data.hints.reading_hints import reading_hints
from vaegis.training.data.hints.totals import total_line_hint
from vaegis.training.data.kinds import ColumnPlan, plan_columns
from vaegis.training.data.placeholders import with_placeholders
from vaegis.training.data.profiling.profile import DataProfile
from vaegis.training.data.row_location import RowLocation
from vaegis.training.data.sampling import Sample, profile_and_sample
from vaegis.training.data.schema import build_schema, category_codes, columns_of, with_noise_scales
from vaegis.training.data.splits import Splits, split_at_random, split_by_group, split_by_time
from vaegis.training.data.trends.growth import settle_growing, time_column_hint
from vaegis.training.errors import ExportError
from vaegis.training.evaluation.injected import evaluate
from vaegis.training.export.model_file import check_destination, export, generator_document, scoring_model
from vaegis.training.fit import Fitted, fit
from vaegis.training.model.generator import noise_scales
from vaegis.training.model.neighbours import neighbours_of
from vaegis.training.model.pairs import pairs_of
from vaegis.training.model.preprocessing import Values
from vaegis.training.model.score import ScoringGraph, typical_terms
from vaegis.training.model.vae import VAE
from vaegis.training.progress import Progress
from vaegis.training.review import Labels, most_extreme, read_labels, review_path, without_anomalies, write_review

_LATENT_DIM_RANGE = (2, 32)
_COMPARED_RECORDS = 256
_TYPICAL_RECORDS = 10_000  # each member's, drawn at random, of which what is typical is taken


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The records of a run, read, planned and split."""

    profile: DataProfile
    sample: Sample
    splits: Splits
    schema: Schema
    columns: Columns


def train(
    data: Path | RecordSource,
    output: Path,
    config: TrainConfig,
    progress: Progress,
    *,
    left_out: Path | None = None,
    report: Path | None = None,
    review: int | None = None,
) -> None:
    """Train on records and write the model file.

    The same records, arguments and machine give the same file, except for its time of creation. With ``report``, the
    file also holds what baselines find. Ctrl-C while fitting keeps the model so far.

    Args:
        data: CSV, Parquet, Arrow or NDJSON: one file or a folder, read as a stream; or another source of records.
        output: The model file. It is replaced in one step. If anything fails, it is not changed.
        config: All settings.
        progress: Shows how the run goes.
        left_out: CSV file for the file and row of each record that was left out of fitting.
        report: HTML page for what the model learned, as `vaegis report` writes it.
        review: How many calibration records, the highest scores first, go to a CSV file beside the model, to be
            labelled. Records with a label in `calibration.labels` are skipped.

    Raises:
        TrainingError, FileError: with the file, row and column at fault where there is one.
    """
    files = opened(data, config) if isinstance(data, Path) else data
    reviewed = None if review is None else review_path(output)
    destinations = {"the model": output, "--left-out": left_out, "--report": report, "--review": reviewed}
    labels_path = None if config.calibration.labels is None else Path(config.calibration.labels)
    is_continued = reviewed is not None and labels_path is not None and reviewed.resolve() == labels_path.resolve()
    labelled = [] if labels_path is None or is_continued else [labels_path]
    _check_destinations(destinations, [*files.paths, *labelled])
    labels = Labels() if labels_path is None else read_labels(labels_path)
    seed = config.fit.seed
    random = np.random.default_rng(seed)
    with progress.reading(files.size_bytes) as on_batch:
        profile, sample = profile_and_sample(files, config, random, on_batch)
    prepared = _prepare(profile, sample, config, random, progress, labels)
    torch.set_num_threads(config.fit.threads)
    torch.manual_seed(seed)  # the initial weights; all later draws have the generator below
    fitted, model, typical = _fit(prepared, config, torch.Generator().manual_seed(seed), progress)
    locations = [prepared.sample.location(record) for record in fitted.left_out]
    progress.left_out(locations)
    if left_out is not None:  # before the model, which is published last
        _write_left_out(locations, left_out)
    with progress.stage("exporting the graph"):
        schema = with_noise_scales(prepared.schema, _noise_scales(prepared, fitted, np.sort(typical)))
        scoring = scoring_model(model, schema)
        generator = generator_document(fitted, schema)
    with progress.stage("calibrating and verifying"):
        held_out = [prepared.columns.rows(rows) for rows in prepared.splits.calibration]
        calibration = calibrate(scoring.scorer, held_out, config.calibration, prepared.splits.method)
        names = tuple(path.name for path in files.paths)
        provenance = _provenance(prepared, config, fitted, names, config.export.model_name or output.stem)
        compared = prepared.columns.rows(typical[:_COMPARED_RECORDS])
        if review is not None and reviewed is not None:
            known = labels.is_anomaly
            skipped = [at for at in range(len(sample)) if known and sample.location(at) in known]
            rows, scores = most_extreme(scoring.scorer, held_out, prepared.splits, skipped, review)
            write_review(reviewed, sample, rows, scores, labels)
        reference = None if report is None else prepared.columns.rows(prepared.splits.fit[0])
        evaluation = evaluate(scoring.scorer, schema, calibration, held_out[0], seed, reference)
        export(scoring, generator, calibration, provenance, compared, output, evaluation)
    if report is not None:
        with progress.stage("writing the report"):
            write_report(open_model(output, Expected()), report)
    progress.done(output, calibration, fitted)
    if reviewed is not None:
        progress.review(reviewed)


def opened(data: Path, config: TrainConfig) -> RecordFiles:
    """Open the files to learn from as the settings say."""
    settings = config.data
    dialect = Dialect(settings.delimiter, settings.quote, settings.escape, settings.encoding, settings.unwrap)
    return open_records(
        data, max_depth=settings.max_depth, dialect=dialect, ignored=ignored_columns(config), skips_nulls=True
    )


def ignored_columns(config: TrainConfig) -> frozenset[str]:
    """Return the columns that the settings leave out."""
    return frozenset(name for name, column in config.columns.items() if column.kind == "ignore")


def _check_destinations(destinations: Mapping[str, Path | None], sources: Sequence[Path]) -> None:
    """Refuse places to write to that cannot be written, or of which two are one."""
    taken: dict[Path, str] = {}
    for name, path in destinations.items():
        if path is None:
            continue
        check_destination(path, sources)
        if other := taken.get(path.resolve()):
            raise ExportError(f"{path}: {other} has the same name; choose another")
        taken[path.resolve()] = name


def _prepare(
    profile: DataProfile,
    sample: Sample,
    config: TrainConfig,
    random: np.random.Generator,
    progress: Progress,
    labels: Labels,
) -> _Prepared:
    """Plan the columns, split the records, find the checks, and show all of it."""
    check_no_list_of_records(profile)
    plans = settle_growing(plan_columns(profile, config, sample.first), profile, sample, config)
    plans = with_code_advice(with_placeholders(plans, sample), sample, config)
    splits, labelled = without_anomalies(_split(plans, sample, config, random), sample, labels)
    calibrating = splits.calibration_records
    left_out = records_left_out(calibrating, config.calibration.history_anomalies)
    check_alpha(config.calibration.alpha, calibrating - left_out)
    schema = build_schema(plans, sample, splits.fitted_records, max_categories=config.kinds.max_categories)
    columns = columns_of(sample, schema.of_records)
    schema, dropped = with_checks(schema, columns, splits)
    columns = columns.first(len(schema.number_positions), len(schema.string_positions))
    progress.columns(profile, schema)
    hints = (
        *column_notes(schema),
        *reading_hints(profile),
        None if profile.is_text else envelope_hint([column.name for column in profile.columns]),
        total_line_hint(plans, sample, profile.records),
        time_column_hint(plans, config),
        group_column_hint(plans, sample, config),
    )
    progress.notes(filter(None, hints))
    progress.splits(profile.records, splits, labelled)
    progress.checks(schema, dropped)
    return _Prepared(profile, sample, splits, schema, columns)


def _split(plans: Sequence[ColumnPlan], sample: Sample, config: TrainConfig, random: np.random.Generator) -> Splits:
    """Split the sample by groups, by time or at random, as the settings say."""
    most = config.calibration.max_records
    if config.splits.group_column is not None:
        groups = sample.groups(config.splits.group_column)
        return split_by_group(groups, config.splits, random, most_calibrating=most)
    if config.data.time_column is None:
        return split_at_random(len(sample), config.splits, random, most_calibrating=most)
    plan = next(plan for plan in plans if plan.name == config.data.time_column)
    times = sample.numbers(plan.name, TIME_KIND, plan.reading, plan.number_form)
    return split_by_time(times, config.splits, most_calibrating=most)


def _fit(
    prepared: _Prepared, config: TrainConfig, generator: torch.Generator, progress: Progress
) -> tuple[Fitted, ScoringGraph, NDArray[np.int64]]:
    """Return the fitted model, its graph, and records of the first member, drawn at random."""
    schema, splits = prepared.schema, prepared.splits
    vae = VAE(
        schema,
        latent_dim=config.model.latent_dim or default_latent_dim(schema),
        hidden=config.model.hidden,
        records=splits.fit.shape[1],
        members=splits.fit.shape[0],
    )
    records = _values(vae, prepared.columns, schema)
    members = torch.from_numpy(splits.fit)
    with progress.fitting() as on_epoch:
        fitted = fit(vae, records, members, config.fit, generator, on_epoch)
    chosen = members[:, torch.randperm(members.shape[1], generator=generator)[:_TYPICAL_RECORDS]]
    typical = typical_terms(fitted.vae, schema, records, chosen, fitted.exemplars, fitted.noise)
    neighbours = neighbours_of(schema, records, chosen, generator)
    pairs = pairs_of(schema, records, members)
    model = ScoringGraph(fitted.vae, schema, fitted.exemplars, fitted.noise, typical, neighbours, pairs).eval()
    return fitted, model, chosen[0].numpy()


def _noise_scales(prepared: _Prepared, fitted: Fitted, rows: NDArray[np.int64]) -> list[float]:
    return noise_scales(fitted.vae, _values(fitted.vae, prepared.columns.rows(rows), prepared.schema))


def default_latent_dim(schema: Schema) -> int:
    """Return the width of the latent space: one dimension a column, two a timestamp, within 2 to 32."""
    wanted = len(schema.columns) + sum(kind_of(column).takes_instants for column in schema.columns)
    low, high = _LATENT_DIM_RANGE
    return min(high, max(low, wanted))


def _values(vae: VAE, columns: Columns, schema: Schema) -> Values:
    codes = category_codes(columns, schema)
    with torch.no_grad():
        return Values(*vae.preprocessing(torch.from_numpy(columns.numbers), codes))


def _write_left_out(locations: list[RowLocation], path: Path) -> None:
    try:
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("file", "row"))
            writer.writerows((location.path, location.row) for location in locations)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error


def _without_folders(config: TrainConfig) -> TrainConfig:
    labels = config.calibration.labels
    return config if labels is None else with_overrides(config, {"calibration.labels": Path(labels).name})


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
            "fit": int(splits.fitted_records.size),
            "calibration": splits.calibration_records,
        },
        split=split,
        settings=_without_folders(config).model_dump(mode="json"),
        fit={
            "members": fitted.vae.members,
            "epochs": fitted.epochs,
            "loss": fitted.loss,
            "left_out": len(fitted.left_out),
            "interrupted": fitted.interrupted,
        },
    )
