from __future__ import annotations

import numpy as np
import pytest

from vaegis.service.files.record_files import open_records
from vaegis.training.config import TrainConfig
from vaegis.training.data.hints.envelopes import check_no_list_of_records, envelope_hint
from vaegis.training.data.sampling import profile_and_sample
from vaegis.training.errors import DataError

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


def test_a_list_of_records_within_an_object_is_refused_with_its_pointer(tmp_path):
    path = tmp_path / "answer.json"
    path.write_text('{"status": "ok", "data": {"result": [{"a": 1}, {"a": 2}]}}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"got 1 object with a list in data\.result: .* --unwrap /data/result$"):
        check_no_list_of_records(profile_of(path))
    path.write_text('{"tags": ["x"], "a": 1}\n' * 30, encoding="utf-8")
    check_no_list_of_records(profile_of(path))


def profile_of(path):
    return profile_and_sample(open_records(path), TrainConfig(), np.random.default_rng(0))[0]
