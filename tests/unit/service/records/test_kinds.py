from __future__ import annotations

import re
from pathlib import Path

import pytest

import vaegis
from vaegis.service.contract import BooleanColumn, CategoricalColumn, NumericColumn, Reading, TimestampColumn
from vaegis.service.reasons import Reason
from vaegis.service.records.kinds import BOOLEAN, INDICATOR, kind_of

PACKAGE = Path(vaegis.__file__).parent
AMOUNT = NumericColumn(
    name="amount",
    missing_share=0.1,
    minimum=0.0,
    maximum=100.0,
    quantiles=(1.0, 5.0, 10.0, 20.0, 30.0, 50.0, 90.0),
    step=0.0,
    noise_scale=1.0,
    degrees_of_freedom=4.0,
)
COUNTRY = CategoricalColumn(name="country", missing_share=0.0, categories=("DE", "MT"), shares=(0.995, 0.005))
EXPRESS = BooleanColumn(name="express", missing_share=0.0, true_share=0.005)
BALANCED = EXPRESS.model_copy(update={"true_share": 0.5})
PLACED_AT = TimestampColumn(name="placed_at", missing_share=0.0, earliest=0.0, latest=1.0)


@pytest.mark.parametrize("column", [AMOUNT, COUNTRY, EXPRESS, PLACED_AT], ids=lambda column: column.kind)
def test_a_null_is_unexpectedly_missing_whatever_the_kind(column):
    assert kind_of(column).reason(column, None) is Reason.UNEXPECTED_MISSING


@pytest.mark.parametrize(("mean", "expected"), [(-7.79, 0.0), (12.5, 12.5), (130.0, 100.0)])
def test_the_expected_number_is_in_the_range_of_training(mean, expected):
    assert kind_of(AMOUNT).expectation(AMOUNT)(mean) == expected


@pytest.mark.parametrize(
    ("column", "observed", "reason"),
    [
        (AMOUNT, -0.01, Reason.OUT_OF_RANGE),
        (AMOUNT, 100.01, Reason.OUT_OF_RANGE),
        (AMOUNT, 1e300, Reason.OUT_OF_RANGE),
        (AMOUNT, 0.0, Reason.RARE_VALUE),
        (AMOUNT, 95.0, Reason.RARE_VALUE),
        (AMOUNT, 1.0, Reason.RARE_COMBINATION),
        (AMOUNT, 20.0, Reason.RARE_COMBINATION),
        (COUNTRY, "XX", Reason.UNSEEN_CATEGORY),
        (COUNTRY, "", Reason.UNSEEN_CATEGORY),
        (COUNTRY, "MT", Reason.RARE_VALUE),
        (COUNTRY, "DE", Reason.RARE_COMBINATION),
        (EXPRESS, 1.0, Reason.RARE_VALUE),
        (EXPRESS, 0.0, Reason.RARE_COMBINATION),
        (EXPRESS, 2.0, Reason.OUT_OF_RANGE),
        (EXPRESS, 0.5, Reason.OUT_OF_RANGE),
        (BALANCED, 1.0, Reason.RARE_COMBINATION),
        (PLACED_AT, 1e12, Reason.RARE_COMBINATION),
    ],
)
def test_the_reason_shows_what_kind_of_wrong_a_value_is(column, observed, reason):
    assert kind_of(column).reason(column, observed) is reason


def test_only_a_boolean_that_training_saw_as_numbers_takes_other_numbers():
    assert kind_of(EXPRESS) is BOOLEAN
    assert kind_of(EXPRESS.model_copy(update={"as_number": True})) is INDICATOR


def test_statistics_name_the_commonest_categories_first():
    column = CategoricalColumn(
        name="c", missing_share=0.0, categories=("a", "b", "c", "d"), shares=(0.1, 0.6, 0.1, 0.2)
    )
    assert kind_of(column).statistics(column) == "4 categories: b 60.00%, d 20.00%, a 10.00%, ..."


def test_statistics_of_booleans_and_instants_are_in_words():
    boolean = BooleanColumn(name="b", missing_share=0.0, true_share=0.25)
    assert kind_of(boolean).statistics(boolean) == "25.00% true"
    day = TimestampColumn(name="t", missing_share=0.0, earliest=0.0, latest=86_400.0)
    assert kind_of(day).statistics(day) == "1970-01-01 to 1970-01-02"
    clock = day.model_copy(update={"latest": 86_340.0, "reading": Reading(format="%H:%M")})
    assert kind_of(clock).statistics(clock) == "00:00:00 to 23:59:00"


def test_a_new_kind_touches_at_most_12_source_files():
    # Not "boolean", which JSON Schema and Arrow have too.
    names = re.compile(
        r'"(numeric|indicator|timestamp|categorical)"|\b(Numeric|Boolean|Timestamp|Categorical|Text)Column\b'
    )
    sources = [path for side in ("service", "training") for path in (PACKAGE / side).rglob("*.py")]
    # Not the display of training: rich has a TextColumn too.
    sources = [path for path in sources if "from rich.progress" not in path.read_text(encoding="utf-8")]
    naming = [str(path.relative_to(PACKAGE)) for path in sources if names.search(path.read_text(encoding="utf-8"))]
    assert "service/records/kinds.py" in naming
    # These files are about one kind alone, so a new one does not touch them.
    own = {
        "service/columns.py": "CategoricalColumn",
        "service/grid.py": "NumericColumn",
        "service/records/forms.py": "TextColumn",
        "training/data/column_zones.py": "TimestampColumn",
        "training/data/hints/code_numbers.py": "NumericColumn",
        "training/data/trends/counters.py": "NumericColumn",
        "training/data/trends/growth.py": "NumericColumn",
        "training/data/trends/number_times.py": "NumericColumn",
        "training/data/text_form.py": "TextColumn",
        "training/data/zones.py": "TimestampColumn",
        "training/model/likelihoods/numeric.py": "NumericColumn",
    }
    for path, kind in own.items():
        found = re.findall(
            r"\b(?:Numeric|Boolean|Timestamp|Categorical|Text)Column\b", (PACKAGE / path).read_text("utf-8")
        )
        assert {*found} <= {kind}
    naming = [path for path in naming if path not in own]
    assert len(naming) <= 12, naming
