"""`vaegis.integrations.ray` on a cluster of two nodes on this machine: `make scale-test`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import vaegis

pytest.importorskip("ray", reason="needs ray: make scale-test")

import ray
import ray.data
from ray.cluster_utils import Cluster

from vaegis.integrations import ModelFile
from vaegis.integrations.model_file import loads_in_this_process
from vaegis.integrations.ray import Scorer

OPTIONS = {"unknown_columns": "ignore", "explain": "all"}


class WatchedScorer(Scorer):
    """Tells of each table which process scored it, and how often that one has loaded a model."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the records with verdicts and the columns ``pid`` and ``loads``."""
        answer = super().__call__(table)
        for name, value in (("pid", os.getpid()), ("loads", loads_in_this_process())):
            answer = answer.append_column(name, pa.array([value] * len(table), pa.int64()))
        return answer


class MarkedScorer(Scorer):
    """Leaves a file for each table, and takes its time, so that a node can be removed in the middle."""

    def __init__(self, model: ModelFile, folder: str) -> None:
        super().__init__(model, unknown_columns="ignore")
        self._folder = Path(folder)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the records with verdicts."""
        node = ray.get_runtime_context().get_node_id()
        (self._folder / f"{node}-{os.getpid()}-{time.time_ns()}").touch()
        time.sleep(0.2)
        return super().__call__(table)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Start two nodes of two CPUs each: three actors need both nodes."""
    resources = {"num_cpus": 2, "object_store_memory": 200 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=resources)
    try:
        cluster.add_node(**resources)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def in_order(dataset: ray.data.Dataset) -> pa.Table:
    return pa.concat_tables(ray.get(dataset.to_arrow_refs())).sort_by("id").combine_chunks()


def test_two_actors_give_the_verdicts_of_score_and_load_the_model_once_each(cluster, orders_file, orders, golden_model):
    dataset = ray.data.read_parquet(str(orders_file), override_num_blocks=8).map_batches(
        WatchedScorer,
        fn_constructor_args=(ModelFile.read(golden_model),),
        fn_constructor_kwargs=OPTIONS,
        batch_format="pyarrow",
        batch_size=2_560,
        concurrency=2,
    )
    table = in_order(dataset)
    assert table["id"].to_pylist() == [*range(len(orders))]
    assert set(table["loads"].to_pylist()) == {1}
    assert 1 <= len(set(table["pid"].to_pylist())) <= 2
    verdicts = pa.Table.from_struct_array(table["vaegis"])
    expected = vaegis.load(golden_model).score(orders, **OPTIONS).to_arrow()
    for name in ("score", "p_value", "elbo", "kl"):
        np.testing.assert_allclose(verdicts[name].to_numpy(), expected[name].to_numpy(), rtol=1e-5, err_msg=name)
    assert verdicts["is_anomaly"].to_pylist() == expected["is_anomaly"].to_pylist()
    assert verdicts["violations"].to_pylist() == expected["violations"].to_pylist()


def test_every_record_comes_once_though_a_node_is_lost_in_the_middle(cluster, orders, golden_model, tmp_path):
    (node,) = cluster.worker_nodes
    dataset = ray.data.from_arrow([orders.slice(start, 500) for start in range(0, len(orders), 500)]).map_batches(
        MarkedScorer,
        fn_constructor_args=(ModelFile.read(golden_model), str(tmp_path)),
        batch_format="pyarrow",
        batch_size=500,
        concurrency=3,
    )
    found: list[int] = []
    nodes_before: set[str] = set()
    for batch in dataset.iter_batches(batch_format="pyarrow", batch_size=None, prefetch_batches=0):
        found += batch["id"].to_pylist()
        nodes_before |= {path.name.partition("-")[0] for path in tmp_path.iterdir()}
        if node is not None and len(nodes_before) == 2:
            cluster.remove_node(node, allow_graceful=False)
            node = None
    assert node is None, "expected actors on both nodes before the last batch"
    assert sorted(found) == [*range(len(orders))]
