"""Put the report of a model together: one HTML page with its style, its script and its drawings inside."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from vaegis.service.contract import Provenance
from vaegis.service.errors import ArtifactError
from vaegis.service.files.output import opened
from vaegis.service.generation import BLOCK_RECORDS, Decoded, Drawn, Generator, exemplars_of, records_of
from vaegis.service.model import Model
from vaegis.service.report.columns import column_cards, watched_rows
from vaegis.service.report.evaluation import fault_table, residual_map
from vaegis.service.report.latent_map import latent_map, walks
from vaegis.service.report.scores import calibration_chart, promise_steps


@dataclass(frozen=True, slots=True)
class Sampled:
    """Exemplars of a model, and what its generator makes of them.

    Attributes:
        points: Their places in latent space, shape (n, latent_dim).
        decoded: The distributions that they decode to.
        drawn: A record drawn near each.
        scores: The score of each of these records, shape (n,).
    """

    points: NDArray[np.float64]
    decoded: Decoded
    drawn: Drawn
    scores: NDArray[np.float64]


_TEMPLATES = Path(__file__).parent / "templates"
_MOST_EXEMPLARS = BLOCK_RECORDS
_SEED = 0  # the same model gives the same page


def report_page(model: Model, generator: Generator) -> str:
    """Return the report as an HTML page, always the same for a model.

    It shows the metadata of the file and what its generator draws, as aggregates. The page loads nothing and sends
    nothing: its content security policy allows its own style and script alone.

    Args:
        model: The model.
        generator: Its decoder.

    Raises:
        ArtifactError: the generator has no table of exemplars, or its outputs are not finite.
    """
    return render(model, _sampled(model, generator))


def _sampled(model: Model, generator: Generator) -> Sampled:
    contract = model.artifact.contract
    random = np.random.default_rng(_SEED)
    points = exemplars_of(contract)
    if len(points) > _MOST_EXEMPLARS:
        chosen = np.sort(random.choice(len(points), _MOST_EXEMPLARS, replace=False))
    else:
        chosen = np.arange(len(points))
    decoded = generator.decode_exemplars(chosen)
    outputs = (decoded.location, decoded.missing, *(part for parts in decoded.categories.values() for part in parts))
    if not all(np.isfinite(output).all() for output in outputs):
        raise ArtifactError("generator: expected finite outputs, got others")
    drawn = generator.draw_near(chosen, random)
    scores = model.score(records_of(generator.schema, drawn), explain="none").score
    return Sampled(points[chosen], decoded, drawn, scores)


def render(model: Model, sampled: Sampled) -> str:
    """Return the report as an HTML page."""
    contract = model.artifact.contract
    evaluation = contract.evaluation
    script = (_TEMPLATES / "report.js").read_text("utf-8")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            **page_style("report.css"),
            model=model,
            contract=contract,
            script=script,
            script_hash=_hash(script),
            promise=promise_steps(model),
            calibration=calibration_chart(model),
            cards=column_cards(contract.columns, sampled.decoded, sampled.drawn),
            latent=latent_map(model, sampled.points, sampled.scores),
            watched=watched_rows(contract.columns),
            walks=walks(contract.columns, sampled.points, sampled.decoded),
            residuals=None if evaluation is None else residual_map(evaluation, len(contract.columns.columns)),
            faults=None if evaluation is None else fault_table(evaluation),
            settings=_settings(contract.provenance),
        )
    )


def write_report(model: Model, path: Path | None, generator: Generator | None = None) -> int:
    """Write the report of a model to a file, which appears only when it is complete, or to standard output.

    Args:
        model: The model.
        path: The page to write; None: standard output.
        generator: The model's decoder; opened if None.

    Returns:
        The size of the page, in bytes.

    Raises:
        ArtifactError: the generator cannot be used.
        FileError: the page cannot be written.
    """
    return write_page(report_page(model, generator or Generator(model.artifact.contract)), path)


def write_page(page: str, path: Path | None) -> int:
    """Write a page to a file, which appears only when it is complete, or to standard output.

    Args:
        page: The page.
        path: The file; None: standard output.

    Returns:
        The size of the page, in bytes.

    Raises:
        FileError: it cannot be written.
    """
    with opened(path) as stream:
        return stream.write(page.encode())


def environment() -> Environment:
    """Return what renders the templates."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["short"] = _short
    made.filters["breakable"] = _breakable
    made.filters["value"] = lambda value: json.dumps(value, ensure_ascii=False)
    return made


def page_style(name: str) -> dict[str, str]:
    """Return a style sheet, and its digest as a content security policy names it, as templates take them."""
    style = (_TEMPLATES / name).read_text("utf-8")
    return {"style": style, "style_hash": _hash(style)}


def _breakable(name: str) -> Markup:
    """Return a name that may break into lines after punctuation, so that long ones fit."""
    return Markup("<wbr>").join(re.split(r"(?<=[^A-Za-z0-9])(?=[A-Za-z0-9])", name))


def _hash(text: str) -> str:
    """Return a text's digest as a content security policy names it."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _short(value: object) -> str:
    """Return a number with six digits and the thousands separated; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _settings(provenance: Provenance) -> list[tuple[str, str]]:
    """Return the training settings as pairs of a dotted key and its value."""
    return [
        (f"{section}.{key}", json.dumps(value, ensure_ascii=False))
        for section, values in provenance.settings.items()
        if isinstance(values, dict)
        for key, value in values.items()
    ]
