from __future__ import annotations

import random
import uuid

import numpy as np
import pytest

from vaegis.service.draws import texts_of_patterns
from vaegis.service.records.forms import OTHER, Forms, patterns_of
from vaegis.training.data.text_form import FEWEST_SHARING, are_growing, text_column

pytestmark = pytest.mark.training

NAMES = ("maria", "john", "ahmed", "wei", "olga", "pierre", "luca", "nina")
HOSTS = ("example.com", "mail.example.org", "example.co.uk")


def mail(r):
    number = r.randint(1, 99) if r.random() < 0.3 else ""
    return f"{r.choice(NAMES)}.{r.choice(NAMES)}{number}@{r.choice(HOSTS)}"


def phone(r):
    return f"({r.randint(200, 999)}) {r.randint(200, 999)}-{r.randint(0, 9999):04}"


def postcode(r):
    return f"{r.randint(501, 99950):05}" + (f"-{r.randint(0, 9999):04}" if r.random() < 0.2 else "")


def key(r):
    return str(uuid.UUID(int=r.getrandbits(128)))


def url(r):
    return f"https://{r.choice(HOSTS)}/{r.choice(NAMES)}/{r.choice(NAMES)}?id={r.randint(1, 99999)}"


def column_of(values, *, grows=False):
    return text_column("x", values, 0.0, grows=grows, most_patterns=256)


def unusual_share(column, values):
    return sum(form not in column.categories for form in Forms(column).of(values)) / len(values)


@pytest.mark.parametrize(
    ("draw", "wrong"),
    [
        (mail, (lambda v: v.replace("@", "@@"), lambda v: v.replace("@", ""), str.upper, lambda v: v + " ")),
        (phone, (lambda v: v[:-4] + "CALL", lambda v: v[:-1], lambda v: v.replace("(", ""))),
        (postcode, (lambda v: "O" + v[1:], lambda v: v[1:], lambda v: v + "-")),
        (key, (lambda v: v[:-1], lambda v: v.replace("-", ""), lambda v: v.replace("-", "_"))),
        (url, (lambda v: v.replace("://", ":/"), lambda v: v.replace("?", ""), lambda v: v[8:])),
        (mail, (lambda v: phone(random.Random(v)), lambda v: v[:0], lambda v: v[: v.index("@")])),
    ],
)
@pytest.mark.parametrize("records", [400, 3000])
def test_malformed_values_are_unusual_and_new_ones_are_not(draw, wrong, records):
    r = random.Random(records)
    column = column_of([draw(r) for _ in range(records)])
    new = [draw(r) for _ in range(2000)]
    assert unusual_share(column, new) <= 0.002
    for spoil in wrong:
        assert unusual_share(column, [spoil(value) for value in new[:200]]) >= 0.95


def test_a_column_holds_no_value_and_no_pattern_that_few_records_share():
    r = random.Random(1)
    rare = "Ürsula_1984!secret@example.com"
    values = [mail(r) for _ in range(500)] + [rare] * (FEWEST_SHARING - 1)
    column = column_of(values)
    stored = column.model_dump_json()
    assert not any(value in stored for value in values)
    assert not any("_" in pattern for pattern in column.categories)
    assert not any("!" in pair for pair in column.pairs)
    assert column.shares[column.categories.index(OTHER)] == pytest.approx(19 / 519, abs=0.01)


def test_few_texts_have_no_pattern_and_free_text_only_the_set_of_its_characters():
    assert column_of(["a-1", "b"]).categories == ("*",)
    r = random.Random(2)
    free = column_of(["".join(r.choices("abc ,.!?;:()-/'\"", k=r.randint(50, 300))) for _ in range(300)])
    assert free.classes == "set"
    assert free.categories[0] == " !\"'(),-./:;?a"
    assert unusual_share(free, ["a, b." * 1000, "a, b (1)" * 10]) == 1.0


def test_growing_identifiers_may_grow_on():
    values = [f"ORD-{number}" for number in range(500, 990)]
    assert are_growing(values)
    assert are_growing(values[::-1])
    column = column_of(values, grows=True)
    assert unusual_share(column, [f"ORD-{number}" for number in range(990, 1500)]) == 0.0
    assert unusual_share(column, ["ORD_1000", "1000"]) == 1.0
    assert not are_growing([key(random.Random(i)) for i in range(100)])


@pytest.mark.parametrize("draw", [mail, phone, postcode, key, url])
def test_drawn_texts_have_the_form_of_the_column_and_are_no_values(draw):
    r = random.Random(3)
    values = [draw(r) for _ in range(600)]
    column = column_of(values)
    patterns = r.choices(column.categories, column.shares, k=300)
    drawn = texts_of_patterns(column, patterns, np.random.default_rng(0)).tolist()
    found = patterns_of(drawn, column.classes, column.longest_run)
    assert all(pattern in (one, OTHER) for one, pattern in zip(found, patterns, strict=True))
    assert all(Forms(column).have_usual_lengths(drawn))
    assert len(set(drawn) & set(values)) <= 2  # a postcode of five digits may be one by chance
    same = texts_of_patterns(column, patterns, np.random.default_rng(0)).tolist()
    assert drawn == same
