from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.records import json as parser
from vaegis.service.records.blocks import BodyError
from vaegis.service.records.json import count_marks, nests_deeper_than, parse_json, parse_records


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b" \n", "empty_body"),
        (b"{", "invalid_json"),
        (b"[1,]", "invalid_json"),
        (b"{'a': 1}", "invalid_json"),
        (b"[1] [2]", "invalid_json"),
        (b'"a\x01b"', "invalid_json"),
        (b'"\xff"', "invalid_utf8"),
        (b'"\xed\xa0\x80"', "invalid_utf8"),
        (b'{"a": 1, "a": 1}', "duplicate_key"),
        (b'{"x": {"a": 1, "b": 2, "a": 3}}', "duplicate_key"),
        (b"[NaN]", "not_finite"),
        (b"[-Infinity]", "not_finite"),
        pytest.param(b"[" + b"1" * 5000 + b"]", "too_large", id="5000 digits"),
        (b"[[[1]]]", "too_deep"),
        pytest.param(b"[" * 1_000_000, "too_deep", id="a million lists"),
        pytest.param(b'{"a":' * 1_000_000, "too_deep", id="a million objects"),
        pytest.param(b'["' + b'\\"' * 9 + b'"' + b",[" * 100_000, "too_deep", id="escaped quotes before lists"),
    ],
)
def test_what_is_not_strict_json_is_refused(body, code):
    with pytest.raises(BodyError, match=r"^body: expected") as caught:
        parse_json(body, max_depth=2)
    assert caught.value.code == code


PIECES = ["[", "]", "{", "}", ",", ":", '"a"', "1", "null", "NaN", '{"a":1}', "\ufeff"]
pieces = st.sampled_from([*PIECES, " ", "\n", "1" * 4301])
bodies = st.lists(pieces, max_size=12).map("".join) | st.lists(pieces, max_size=8).map(lambda i: f"[{','.join(i)}]")


@given(bodies)
def test_records_are_parsed_as_a_body_is(text):
    def outcome(parse):
        try:
            return parse(text.encode(), max_depth=5)
        except BodyError as error:
            return error

    whole, records = outcome(parse_json), outcome(lambda body, **limit: parse_records(body, **limit, most=100))
    if isinstance(whole, BodyError):
        assert records.code == whole.code
    else:
        assert records == (whole if isinstance(whole, list) else [whole])


def test_records_beyond_the_most_are_not_looked_at():
    assert parse_records(b"[1,2,3,", max_depth=5, most=2) == [1, 2, 3]
    with pytest.raises(BodyError, match="expected JSON with a value at character 7"):
        parse_records(b"[1,2,3,", max_depth=5, most=3)


def test_a_depth_beyond_the_interpreters_own_is_refused_too():
    with pytest.raises(BodyError) as caught:
        parse_json(b"[" * 200_000 + b"]" * 200_000, max_depth=1_000_000)
    assert caught.value.code == "too_deep"


def test_no_part_of_a_body_but_a_repeated_key_is_shown():
    with pytest.raises(BodyError) as caught:
        parse_json(b'{"secret": hidden', max_depth=2)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)
    with pytest.raises(BodyError, match="'twice' twice"):
        parse_json(b'{"twice": "hidden", "twice": 1}', max_depth=2)


def test_a_repeated_key_is_shown_cut_and_encodable():
    with pytest.raises(BodyError) as caught:
        parse_json(b'{"\\ud800%s": 1, "\\ud800%s": 1}' % (b"k" * 1000, b"k" * 1000), max_depth=2)
    assert len(str(caught.value).encode()) < 300


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_strict_json_is_parsed_as_the_standard_library_does(value):
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if b"\xed\xa0" not in body and b"\xed\xb0" not in body:
        assert parse_json(body, max_depth=50) == value


JSON = st.recursive(
    st.none() | st.text(alphabet='ab"\\[]{}\u00e9', max_size=6) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='a"\\{[', max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(JSON, st.booleans())
def test_depth_is_that_of_the_parsed_value(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    depth = depth_of(value)
    assert not nests_deeper_than(text, depth)
    assert depth == 0 or nests_deeper_than(text, depth - 1)


@given(JSON, st.booleans(), st.integers(1, 7))
def test_depth_is_the_same_whatever_the_size_of_blocks(value, ascii_only, block_bytes):
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    depth = depth_of(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser, "BLOCK_BYTES", block_bytes)
        assert not nests_deeper_than(text, depth)
        assert depth == 0 or nests_deeper_than(text, depth - 1)


@pytest.mark.parametrize(
    "text", [b'["' + b"[" * 50 + b'"]', b'["\\"' + b"[" * 50 + b'"]', b'["\\\\", "' + b"{" * 50 + b'"]']
)
def test_brackets_within_strings_do_not_count(text):
    assert not nests_deeper_than(text, 1)


def test_depth_is_kept_across_blocks():
    text = b'{"a": "' + b"x" * (3 << 20) + b'", "b": [[[1]]]}'
    assert nests_deeper_than(text, 3)
    assert not nests_deeper_than(text, 4)


@given(st.text("ab,[", max_size=60).map(str.encode), st.sampled_from([b",", b"[,", b""]), st.integers(0, 9))
def test_each_mark_counts_whatever_the_size_of_blocks(text, which, block_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser, "_SHORT", block_bytes)
        patch.setattr(parser, "BLOCK_BYTES", block_bytes + 1)
        assert count_marks(text, which) == sum(byte in which for byte in text)
