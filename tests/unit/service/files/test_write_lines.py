"""Records as lines of JSON."""

from __future__ import annotations

import io
import math
from datetime import date
from decimal import Decimal

import pytest

from vaegis.service.files.output import write_lines


def line(value: object) -> str:
    stream = io.BytesIO()
    write_lines(stream, [{"a": value}])
    return stream.getvalue().decode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"),
        (0.1, "0.1"),
        (None, "null"),
        ("Köln\n", '"Köln\\n"'),
        (math.nan, "null"),
        (-math.inf, "null"),
        ([1, math.nan, {"b": math.inf}], '[1,null,{"b":null}]'),
        (Decimal("1.50"), '"1.50"'),
        (date(2023, 1, 2), '"2023-01-02"'),
        (b"\x00\xff", '"AP8="'),
    ],
)
def test_a_value_is_written_as_json_can(value, expected):
    assert line(value) == f'{{"a":{expected}}}\n'


def test_each_record_has_its_line():
    stream = io.BytesIO()
    write_lines(stream, [{"a": 1}, {}, {"a": 2}])
    assert stream.getvalue() == b'{"a":1}\n{}\n{"a":2}\n'


def test_a_lone_surrogate_is_written_as_an_escape():
    assert line("\ud800") == '{"a":"\\ud800"}\n'
