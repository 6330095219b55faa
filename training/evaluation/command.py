"""`vaegis-train evaluate`: measure a model on labelled records."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
from rich.console import Console

from vaegis.service.artifact import Artifact, load_artifact
from vaegis.service.files.formats import add_dialect_arguments, dialect_of_arguments
from vaegis.training.errors import EvaluationError
from vaegis.training.evaluation.baselines import MAX_REFERENCE_RECORDS
from vaegis.training.evaluation.labelled import read_labelled
from vaegis.training.evaluation.measure import Evaluation, evaluate
from vaegis.training.evaluation.report import Subject, as_json, format_report

_MAX_RECORDS = 50_000


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("model", type=Path, help="the file that vaegis-train wrote")
    parser.add_argument("labelled", type=Path, help="labelled records that training did not use: a file or a folder")
    parser.add_argument(
        "--label-column",
        required=True,
        metavar="NAME",
        help="column with 1 or true for an anomaly, 0 or false otherwise",
    )
    parser.add_argument("--alpha", type=float, help="share of normal records that may be flagged (the model's own)")
    parser.add_argument(
        "--train-data",
        type=Path,
        metavar="DATA",
        help="the records that the model was trained on, to fit the baselines on; else they take half of the normal "
        "labelled ones, which are then left out of every figure",
    )
    parser.add_argument(
        "--max-records",
        type=int,
        default=_MAX_RECORDS,
        metavar="N",
        help=f"most labelled records used, a random sample of all ({_MAX_RECORDS})",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of samples, splits, baselines and intervals (0)")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    add_dialect_arguments(parser)


def run(args: Namespace, console: Console) -> int:
    """Evaluate, print the report and return the exit code.

    Raises:
        ServiceError, TrainingError: The model or the records cannot be used, or alpha cannot be promised.
    """
    if args.max_records < 2:  # noqa: PLR2004 - one record of each label
        raise EvaluationError(f"--max-records: expected at least 2, got {args.max_records}")
    artifact = load_artifact(args.model)
    artifact.verify()
    evaluation, subject = _evaluated(args, artifact)
    if args.json:
        console.out(as_json(evaluation, subject), highlight=False)
    else:
        console.print(format_report(evaluation, subject))
    return 0


def _evaluated(args: Namespace, artifact: Artifact) -> tuple[Evaluation, Subject]:
    generator = np.random.default_rng(args.seed)
    contract, dialect = artifact.contract, dialect_of_arguments(args)
    labelled = read_labelled(
        args.labelled,
        contract.columns,
        label_column=args.label_column,
        max_records=args.max_records,
        generator=generator,
        dialect=dialect,
    )
    reference = None
    if args.train_data is not None:
        reference = read_labelled(
            args.train_data,
            contract.columns,
            label_column=None,
            max_records=MAX_REFERENCE_RECORDS,
            generator=generator,
            infinities="null",
            dialect=dialect,
        ).columns
    evaluation = evaluate(
        artifact,
        labelled.columns,
        labelled.labels,
        alpha=contract.calibration.alpha if args.alpha is None else args.alpha,
        reference=reference,
        seed=args.seed,
    )
    subject = Subject(
        model=contract.provenance.model_name,
        model_digest=f"sha256:{artifact.digest}",
        records=args.labelled,
        records_read=labelled.read,
        training_data=args.train_data,
    )
    return evaluation, subject
