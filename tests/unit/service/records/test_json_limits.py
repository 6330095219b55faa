from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.records import json as parser
from vaegis.service.records.json import count_marks, nests_deeper_than

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
