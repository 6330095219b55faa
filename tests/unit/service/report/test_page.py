"""The report: what it shows is what the file holds, and it needs nothing else."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from pydantic import ValidationError

from vaegis.service.contract import (
    MOST_CORRELATED,
    MOST_FAULTS,
    CategoricalColumn,
    EvaluationDocument,
    FaultsFound,
    IgnoredColumn,
    NumericColumn,
    Schema,
)
from vaegis.service.generation import Decoded, Drawn, Generator, exemplars_of
from vaegis.service.model import Model
from vaegis.service.pvalues import false_alarm_bound, threshold

pytest.importorskip("jinja2")
from vaegis.service.report.columns import QuantileChart, column_cards
from vaegis.service.report.evaluation import residual_map
from vaegis.service.report.page import Sampled, environment, render, report_page

HOSTILE = "<img src=x onerror=alert(1)>&\"'</script>"
VOID = {"meta", "input", "br", "wbr", "path", "rect", "line"}
LOADING = {"src", "srcset", "poster", "data", "action", "formaction", "background", "ping", "xlink:href"}


class Page(HTMLParser):
    """The elements of a page, its text by id, and which tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[tuple[str, str | None]] = []
        self.misplaced: list[str] = []
        self.feed(html)
        self.close()
        self.misplaced += [tag for tag, _ in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop()[0] != tag:
            self.misplaced.append(tag)

    def handle_data(self, data: str) -> None:
        for _, name in self._open:
            if name is not None:
                self.texts[name] = self.texts.get(name, "") + data


@pytest.fixture(scope="module")
def model(artifact) -> Model:
    return Model(artifact)


@pytest.fixture(scope="module")
def html(model, artifact) -> str:
    return report_page(model, Generator(artifact.contract))


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def wide() -> tuple[Schema, Sampled]:
    """100 columns, half of them lists of 256 long values, all of names that are markup."""
    long = tuple(f"{HOSTILE} {'x' * 200} {at}" for at in range(256))
    columns = []
    for at in range(50):
        number = {"minimum": -1e9, "maximum": 1e9, "step": 0.0, "noise_scale": 1.0, "degrees_of_freedom": 4.0}
        spread = tuple(np.linspace(-1.234567, 1.234567, 7).tolist())
        columns.append(NumericColumn(name=f"{HOSTILE}{at}", missing_share=0.1, quantiles=spread, why=HOSTILE, **number))
        shares = (1 / 256,) * 256
        columns.append(
            CategoricalColumn(
                name=f"list {HOSTILE}{at}", missing_share=0.0, categories=long, shares=shares, warnings=(HOSTILE,)
            )
        )
    schema = Schema(columns=tuple(columns), ignored=(IgnoredColumn(name=HOSTILE, reason=HOSTILE),))
    random = np.random.default_rng(0)
    n, width = 1024, len(columns)
    decoded = Decoded(
        random.normal(size=(n, width)),
        np.full((n, width), 0.1),
        {at: (random.dirichlet(np.ones(257), n),) for at in range(1, width, 2)},
    )
    values = tuple(random.normal(size=n) if at % 2 == 0 else np.full(n, "x", object) for at in range(width))
    drawn = Drawn(values, np.zeros((n, width), dtype=bool))
    return schema, Sampled(random.normal(size=(n, 32)), decoded, drawn, random.normal(size=n))


@pytest.fixture(scope="module")
def wide_html(artifact, wide) -> str:
    schema, sampled = wide
    contract = artifact.contract.model_copy(
        update={
            "columns": schema,
            "provenance": artifact.contract.provenance.model_copy(update={"model_name": HOSTILE}),
        }
    )
    return render(Model(replace(artifact, contract=contract)), sampled)


def test_numbers_are_those_of_the_file(page, model, artifact):
    contract = artifact.contract
    assert page.texts["own-alpha"] == f"{contract.calibration.alpha:g}"
    assert page.texts["own-threshold"] == f"{model.threshold:.6g}"
    assert page.texts["calibration-records"] == f"{contract.calibration.records:,}"
    assert page.texts["columns-scored"] == str(len(contract.columns.columns))
    assert page.texts["columns-ignored"] == str(len(contract.columns.ignored))
    assert page.texts["violating-share"] == f"{contract.columns.violating_share:.2%}"
    assert model.guarantee in page.texts["promise"]
    assert model.digest in page.texts["provenance"]


def test_every_column_has_its_kind_its_checks_and_a_drawing(page, artifact):
    for column in artifact.contract.columns.columns:
        assert column.name in page.texts["columns"]
        assert all(check.code.value in page.texts["columns"] for check in column.checks)
    for ignored in artifact.contract.columns.ignored:
        assert ignored.reason in page.texts["columns"]


def test_the_slider_has_the_thresholds_and_bounds_of_each_alpha(page, artifact):
    folds = artifact.calibration_folds
    steps = json.loads(page.texts["promise-steps"])
    for alpha, bound, limit, _ in steps:
        assert (bound, limit) == (false_alarm_bound(folds, alpha), threshold(folds, alpha))
    alphas = [step[0] for step in steps]
    assert alphas == sorted(alphas)
    slider = next(attributes for tag, attributes in page.elements if attributes.get("id") == "alpha")
    assert alphas[int(slider["value"])] == artifact.contract.calibration.alpha


@pytest.mark.parametrize("which", ["html", "wide_html"])
def test_the_page_is_well_formed_and_its_ids_are_unique(request, which):
    page = Page(request.getfixturevalue(which))
    assert page.misplaced == []
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert set(ids.values()) == {1}


@pytest.mark.parametrize("which", ["html", "wide_html"])
def test_the_page_loads_nothing_and_names_are_text(request, which):
    page = Page(request.getfixturevalue(which))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "link", "iframe", "object", "embed", "image", "use", "base", "form"}
    for _, attributes in page.elements:
        assert not LOADING & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith("#")
    assert sum(tag == "script" for tag, _ in page.elements) == 2
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_names_that_are_markup_are_shown_as_they_are(wide_html):
    assert HOSTILE not in wide_html
    assert HOSTILE in Page(wide_html).texts["columns"]


def test_a_page_of_100_columns_is_under_1_mb(wide_html):
    assert len(wide_html.encode()) < 1_000_000


@pytest.mark.parametrize("ends", [(5.0, 5.0), (0.0, 0.0), (1e16, 1e16 + 2.0), (-1.7e308, 1.7e308)])
def test_a_chart_of_any_range_has_finite_places(ends):
    quantiles = (ends[0], *(ends[0],) * 5, ends[1])
    number = {"step": 0.0, "noise_scale": 1.0, "degrees_of_freedom": 4.0, "missing_share": 0.0}
    column = NumericColumn(name="n", minimum=ends[0], maximum=ends[1], quantiles=quantiles, **number)
    n = 8
    drawn = Drawn((np.full(n, ends[0]),), np.zeros((n, 1), dtype=bool))
    (card,) = column_cards(Schema(columns=(column,)), Decoded(np.zeros((n, 1)), np.zeros((n, 1)), {}), drawn)
    assert isinstance(card.chart, QuantileChart)
    places = [*card.chart.bars, *card.chart.bands, *card.chart.ticks, (card.chart.median,)]
    assert np.isfinite(np.concatenate(places)).all()


@pytest.fixture(scope="module")
def evaluated_html(artifact, wide) -> str:
    """The report of a model with as large an evaluation as a file can hold, of names that are markup."""
    names = tuple(f"{HOSTILE}{at}" for at in range(MOST_CORRELATED))
    correlations = np.random.default_rng(0).uniform(-1, 1, MOST_CORRELATED * (MOST_CORRELATED - 1) // 2)
    correlations[7] = 1.0
    faults = tuple(
        FaultsFound(fault=f"{HOSTILE}{at}" if at else "none", records=200, found={"score": at, "limits": 3, HOSTILE: 0})
        for at in range(MOST_FAULTS)
    )
    evaluation = EvaluationDocument(
        residual_columns=names,
        residual_correlations=tuple(correlations.tolist()),
        residual_records=2000,
        faults=faults,
    )
    schema, sampled = wide
    contract = artifact.contract.model_copy(update={"columns": schema, "evaluation": evaluation})
    return render(Model(replace(artifact, contract=contract)), sampled)


def test_residuals_and_faults_are_shown_where_the_file_has_them(page, evaluated_html):
    evaluated = Page(evaluated_html)
    assert "residuals" not in page.texts
    assert "faults" not in page.texts
    assert evaluated.misplaced == []
    assert HOSTILE not in evaluated_html
    assert len(evaluated_html.encode()) < 1_000_000
    rows = " ".join(evaluated.texts["faults"].split())
    assert "none: false alarms2001.5% 0.0% 0.0%" in rows  # column limits, another detector, and the score last
    assert "+1.00" in evaluated.texts["residuals"]
    (label,) = [a["aria-label"] for tag, a in evaluated.elements if "residuals of 40" in (a.get("aria-label") or "")]
    assert "The strongest is +1.00" in label


@pytest.mark.parametrize(
    "counts", [{"residual_records": 10**400}, {"faults": [{"fault": "none", "records": 10**400, "found": {}}]}]
)
def test_counts_of_an_evaluation_are_bounded(counts):
    document = {"residual_columns": ["a", "b"], "residual_correlations": [0.5], "residual_records": 9, "faults": []}
    with pytest.raises(ValidationError, match="less than or equal to 9007199254740992"):
        EvaluationDocument.model_validate_json(json.dumps(document | counts))


def test_residuals_of_more_columns_than_are_scored_are_shown():
    evaluation = EvaluationDocument(
        residual_columns=("a", "b"), residual_correlations=(0.5,), residual_records=900, faults=()
    )
    assert residual_map(evaluation, scored_columns=1).pairs == (("a", "b", 0.5),)


def test_every_drawing_has_a_text_alternative_or_stands_beside_its_text(page):
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert drawings
    assert all(attributes.get("aria-label") or attributes.get("aria-hidden") == "true" for attributes in drawings)


def test_the_same_model_gives_the_same_page(html, model, artifact):
    assert report_page(model, Generator(artifact.contract)) == html


def test_exemplars_are_those_that_the_generator_decodes(artifact):
    generator = artifact.contract.generator
    points = exemplars_of(artifact.contract)
    assert points.shape == (generator.exemplars, generator.latent_dim)
    # Exemplars at one place decode alike, and others do not.
    decoded = Generator(artifact.contract).decode_exemplars(np.arange(len(points))).location[:, 0]
    distance = np.linalg.norm(points[:, None] - points, axis=2) + np.eye(len(points)) * 1e9
    nearest = decoded[distance.argmin(axis=1)]
    assert np.corrcoef(decoded, nearest)[0, 1] > 0.8


def test_long_names_break_after_punctuation_and_stay_escaped():
    shown = environment().from_string("{{ name | breakable }}").render(name="a.b_<c>")
    assert shown == "a.<wbr>b_&lt;<wbr>c&gt;"
