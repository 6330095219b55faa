"""Model files that are sent to workers, and Ray's scorer, which needs no Ray itself."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

import vaegis
from vaegis.integrations import ModelFile
from vaegis.integrations.model_file import loads_in_this_process
from vaegis.integrations.ray import Scorer


@pytest.fixture
def copied(golden_model, tmp_path) -> ModelFile:
    """Return the golden model as another path, and sent through a pickle."""
    path = tmp_path / "copy.onnx"
    path.write_bytes(golden_model.read_bytes())
    return pickle.loads(pickle.dumps(ModelFile.read(path)))  # noqa: S301 - our own


def test_a_process_opens_a_model_once_whatever_its_path_and_thread(golden_model, copied):
    first = ModelFile.read(golden_model).load()
    before = loads_in_this_process()
    with ThreadPoolExecutor(4) as threads:
        assert {*threads.map(lambda _: copied.load(), range(8))} == {first}
    assert loads_in_this_process() == before
    assert first.digest == copied.digest == vaegis.load(golden_model).digest


def test_threads_that_ask_at_the_same_time_wait_for_one_opening(golden_model):
    older = ModelFile.read(golden_model.with_name("orders-v1.onnx"))
    before = loads_in_this_process()
    with ThreadPoolExecutor(4) as threads:
        assert len({*threads.map(lambda _: older.load(), range(8))}) == 1
    assert loads_in_this_process() <= before + 1


def test_a_file_that_is_no_model_or_another_one_is_refused(golden_model, tmp_path):
    path = tmp_path / "page.onnx"
    path.write_text("<html>" + "." * 200)
    with pytest.raises(vaegis.ArtifactError, match=r"page\.onnx"):
        ModelFile.read(path).load()
    with pytest.raises(vaegis.ArtifactError, match="expected the digest"):
        ModelFile.read(golden_model, digest="sha256:" + "0" * 64)


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_rays_scorer_adds_the_verdicts_to_a_table_of_any_number_of_chunks(golden_model, chunks):
    part = pa.table({"amount": [23.5, 9000.0], "country": ["FR", None]})
    table = pa.concat_tables([part.schema.empty_table(), *[part] * chunks])
    scored = Scorer(golden_model, alpha=0.05)(table)
    assert scored.drop_columns("vaegis").equals(table)
    expected = vaegis.load(golden_model).score(table, alpha=0.05).to_list()
    assert [verdict["score"] for verdict in scored["vaegis"].to_pylist()] == [verdict["score"] for verdict in expected]
    assert "violations" in {part.name for part in scored.schema.field("vaegis").type}


def test_rays_scorer_refuses_wrong_options_when_it_starts(golden_model):
    with pytest.raises(ValueError, match="on_invalid: expected"):
        Scorer(golden_model, on_invalid="some")
