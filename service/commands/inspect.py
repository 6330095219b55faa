"""`vaegis inspect`: show what a model file holds, as tables or as JSON."""

from __future__ import annotations

import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaegis.service.commands.model import add_model_arguments, opened_model
from vaegis.service.terminal import printable

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from vaegis.service.model import Model

_GAP = "  "
_WIDTH = 80
_NARROWEST = 30


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command and its flag."""
    parser = subparsers.add_parser(
        "inspect",
        help="show a model's columns, calibration and provenance",
        description="Show what a model file holds: its columns, calibration, provenance and generator.",
    )
    add_model_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the document that GET /model answers")
    parser.set_defaults(func=run)


def run(args: Namespace) -> int:
    """Print the metadata.

    Returns:
        0.

    Raises:
        ArtifactError: the file cannot be used.
    """
    # onnxruntime loads only here, so that the other commands start without it.
    from vaegis.service.http.schemas import model_answer

    model = opened_model(args)
    if args.json:
        answer = model_answer(
            model.artifact, model.artifact.contract.provenance.model_name, alpha=model.alpha, threshold=model.threshold
        )
        print(answer.model_dump_json(by_alias=True, indent=2))
    else:
        print("\n".join(_report(args.model, model)))
    return 0


def _report(path: Path, model: Model) -> Iterable[str]:
    from vaegis.service.column_report import WATCHED, check_description, column_description, column_kind, column_notes

    contract = model.artifact.contract
    yield from _section("model", _aligned(_model_rows(path, model)))
    yield ""
    yield from _section("calibration", _aligned(_calibration_rows(model)))
    yield ""
    schema = contract.columns
    rows = [(c.name, column_kind(c), f"{c.missing_share:.2%}", column_description(c)) for c in schema.columns]
    rows += [(c.name, WATCHED, f"{c.missing_share:.2%}", column_description(c)) for c in schema.watched]
    rows += [(c.name, column_kind(c), "", column_description(c)) for c in schema.ignored]
    yield from _section("columns", _aligned([("name", "kind", "missing", "why, and what training saw"), *rows], _WIDTH))
    checked = [
        (c.name, ", ".join(check_description(c, check) for check in c.checks), f"{c.violating_share:.2%}")
        for c in schema.of_records.columns
    ]
    yield ""
    yield from _section("checks", _aligned([("name", "values that break one", "normal records"), *checked]))
    yield f"{schema.violating_share:.2%} of the calibration records break a check of any column."
    for note in column_notes(schema):
        yield ""
        yield from textwrap.wrap(printable(note), _WIDTH)


def _model_rows(path: Path, model: Model) -> list[tuple[str, str]]:
    contract = model.artifact.contract
    provenance, golden, generator = contract.provenance, contract.golden, contract.generator
    records = ", ".join(f"{count:,} {name}" for name, count in provenance.records.items())
    fit = ", ".join(f"{name} {_short(value)}" for name, value in provenance.fit.items())
    return [
        ("name", model.name),
        ("file", str(path)),
        ("size", f"{model.artifact.size_bytes:,} bytes"),
        ("digest", model.digest),
        ("created", provenance.created_at.isoformat()),
        ("versions", f"vaegis {provenance.vaegis_version}, torch {provenance.torch_version}"),
        ("sources", ", ".join(provenance.sources)),
        ("records", records),
        ("split", f"{provenance.split}, seed {provenance.seed}"),
        ("fit", fit or "not recorded"),
        ("generator", f"{generator.exemplars:,} exemplars, {generator.latent_dim} latents"),
        (
            "golden records",
            f"{len(golden.records)}, reproduced to {golden.relative_tolerance:.2%} or {golden.absolute_tolerance:g}",
        ),
    ]


def _calibration_rows(model: Model) -> list[tuple[str, str]]:
    from vaegis.service.pvalues import least_alpha

    calibration = model.artifact.contract.calibration
    exact = "" if len(calibration.folds) == 1 else " (approximate: with several models, the p-value decides)"
    return [
        ("method", calibration.method),
        ("folds", f"{len(calibration.folds)}"),
        ("records", f"{calibration.records:,}"),
        ("alpha", f"{model.alpha:g} (the least that so many records support: {least_alpha(calibration.records):.3g})"),
        ("threshold", f"{model.threshold:.6g}{exact}"),
        ("guarantee", model.guarantee),
    ]


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _section(title: str, lines: Iterable[str]) -> Iterable[str]:
    yield title
    yield from (f"{_GAP}{line}" for line in lines)


def _aligned(rows: Sequence[tuple[str, ...]], width: int | None = None) -> Iterable[str]:
    """Return rows as lines whose columns begin at the same place; the last one is wrapped to ``width``, if given."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    indent = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    for *before, last in shown:
        # A section stands one gap to the right.
        parts = [last] if width is None else textwrap.wrap(last, max(_NARROWEST, width - indent - len(_GAP))) or [""]
        cells = [cell.ljust(space) for cell, space in zip(before, widths[:-1], strict=True)]
        yield _GAP.join([*cells, parts[0]]).rstrip()
        yield from (" " * indent + part for part in parts[1:])
