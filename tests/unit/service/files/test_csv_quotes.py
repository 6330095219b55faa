"""A file that ends within quotes is told from one with quotes that open nothing."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.files.csv import ends_within_quotes, has_odd_quotes


def stream(text: str) -> pa.NativeFile:
    return pa.input_stream(io.BytesIO(text.encode()))


values = st.text(st.sampled_from('ab",\n\r 5\u00e9'), max_size=8)


@given(st.lists(st.lists(values, min_size=2, max_size=2), min_size=1, max_size=6))
def test_what_is_written_by_the_rules_is_whole_and_within_its_last_value_it_is_not(rows):
    sink = io.StringIO(newline="")
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerows(rows)
    whole = sink.getvalue()
    assert not has_odd_quotes(stream(whole))
    assert not ends_within_quotes(stream(whole), ",")
    within = whole.removesuffix('"\r\n')
    assert has_odd_quotes(stream(within))
    assert ends_within_quotes(stream(within), ",")


@pytest.mark.parametrize("text", ['a,b\n1,5" pipe\n', 'a,b\n1,"x"y"\n2,z\n', 'a,b\n1,x"'])
def test_a_quote_that_opens_nothing_leaves_nothing_open(text):
    assert has_odd_quotes(stream(text))
    assert not ends_within_quotes(stream(text), ",")


def test_a_long_value_that_is_never_closed_is_open():
    assert ends_within_quotes(stream('a,b\n1,"' + "x\n" * 200_000), ",")
