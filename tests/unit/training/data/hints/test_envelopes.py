from __future__ import annotations

import pytest

from vaegis.training.data.hints.envelopes import envelope_hint

pytestmark = pytest.mark.training


@pytest.mark.parametrize(
    ("pointer", "names"),
    [
        ("/payload/after", ["schema.type", "payload.before", "payload.after.a", "payload.after.b.c", "payload.op"]),
        ("/after", ["before.a", "after.a", "after.b", "op", "ts_ms", "source.table"]),
        ("/_source", ["_index", "_id", "_score", "_source.a", "_source.b"]),
        ("/value", ["topic", "key", "value.a", "value.b", "partition", "offset"]),
        ("/_source", ["_source.a", "_source.b"]),
        ("/payload/after", ["payload.after.a", "payload.after.b.c"]),
        ("/a~1b/c~0d", ["a/b.c~d.x", "a/b.c~d.y"]),
    ],
)
def test_records_in_an_envelope_are_to_be_unwrapped(pointer, names):
    hint = envelope_hint(names) or ""
    assert f"--unwrap {pointer}," in hint
    assert f"VAEGIS_UNWRAP={pointer}." in hint


@pytest.mark.parametrize(
    "names",
    [
        ["amount", "shop.id", "shop.country"],
        ["shop.id", "customer.id"],
        ["value.amount"],
        ["timestamp", "value.x", "value.y"],
        ["_id", "amount", "country"],
        ["op", "after.a", "after.b", "amount"],
    ],
    ids=["nested-in-part", "two-objects", "one-value", "readings", "mongoexport", "more-beside"],
)
def test_columns_beside_nested_ones_are_no_envelope(names):
    assert envelope_hint(names) is None
