from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.records import marks
from vaegis.service.records.marks import count_marks


@given(st.text("ab,[", max_size=60).map(str.encode), st.sampled_from([b",", b"[,", b""]), st.integers(0, 9))
def test_each_mark_counts_whatever_the_size_of_blocks(text, which, block_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "_SHORT", block_bytes)
        patch.setattr(marks, "BLOCK_BYTES", block_bytes + 1)
        assert count_marks(text, which) == sum(byte in which for byte in text)
