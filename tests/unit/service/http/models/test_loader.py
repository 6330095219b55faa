"""Versions of models that change under a service: which one answers, what is kept and counted, and what is freed."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import threading
import weakref
from pathlib import Path

import pytest

from vaegis.service.artifact import load_artifact
from vaegis.service.errors import ArtifactError, ModelFolderError
from vaegis.service.http.app import create_app
from vaegis.service.http.models.loader import (
    FileSource,
    FolderSource,
    ModelLoader,
    default_model,
    schema_difference,
)
from vaegis.service.http.models.registry import ServedAs
from vaegis.service.model_file import DIGEST_PREFIX, MetadataKey, content_digest
from vaegis.service.model_folder import POINTER_FILE, promote, roll_back
from vaegis.service.settings import load_settings


@pytest.fixture
def variant(golden_model, hostile):
    """Make the bytes of the golden model with another digest, and otherwise the same."""

    def make(number: int) -> bytes:
        change = {"seed": number}
        return hostile.with_document(golden_model.read_bytes(), MetadataKey.PROVENANCE, lambda old: old | change)

    return make


@pytest.fixture
def renamed(golden_model, hostile) -> bytes:
    """The golden model with another name for one of its columns."""

    def rename(schema):
        schema["columns"][0]["name"] = "price"
        return schema

    def rename_records(golden):
        records = [{"price": record.pop("amount"), **record} for record in golden["records"]]
        return golden | {"records": records}

    model = hostile.with_document(golden_model.read_bytes(), MetadataKey.SCHEMA, rename)
    return hostile.with_document(model, MetadataKey.GOLDEN, rename_records)


def put_live(folder: Path, version: str, **options: bool) -> None:
    digest = DIGEST_PREFIX + content_digest((folder / "orders" / f"{version}.onnx").read_bytes())
    promote(folder, "orders", version, digest, **options)


class Served:
    """A service over a folder, whose loader looks when it is told."""

    def __init__(self, folder: Path, settings: dict[str, object]) -> None:
        self.folder = folder
        known = load_settings({}, settings)
        source = FolderSource(folder, allow_schema_change=known.allow_schema_change)
        name = default_model(folder, known.default_model)
        self.app = create_app(None, known, served_as=ServedAs(name, folder=folder))
        self.models = self.app.models
        self.loader = ModelLoader(source, self.models, known)
        self.loader.load_first()
        self.app.readiness.admit(self.models.default.live().artifact.verify())

    @property
    def live(self) -> str:
        return self.models.default.live().version

    def described(self, name: str = "orders") -> dict[str, object]:
        answer = self.models.described(self.folder).model_dump()
        return next(item for item in answer["models"] if item["name"] == name)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.app.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def folder(tmp_path, variant) -> Path:
    (tmp_path / "orders").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "orders" / f"{number}.onnx").write_bytes(variant(number))
    put_live(tmp_path, "1")
    return tmp_path


@pytest.fixture
def served(folder):
    return Served(folder, {})


def test_a_promoted_version_scores_and_a_rollback_brings_the_old_one_back(served, folder, send, record):
    def answered() -> tuple[str, str]:
        answer = send(served.app, "POST", "/score", json=record)
        assert answer.headers["vaegis-model-digest"] == answer.json()["model_digest"]
        return answer.json()["model"], answer.json()["model_digest"]

    first = answered()
    put_live(folder, "2")
    assert answered() == first
    served.loader.check()
    second = answered()
    assert second[0] == "orders"
    assert second != first
    roll_back(folder, "orders")
    served.loader.check()
    assert answered() == first
    assert served.metric("vaegis_model_loads_total", model="orders", outcome="succeeded") == 3
    infos = [s for m in served.app.metrics.registry.collect() for s in m.samples if s.name == "vaegis_model_info"]
    assert [(info.labels["digest"], info.value) for info in infos] == [(first[1], 1.0)]
    assert send(served.app, "GET", "/model").json()["model_digest"] == first[1]


def test_answers_in_every_format_name_the_digest_that_scored_them(served, send, record):
    digest = f"sha256:{served.models.default.live().artifact.digest}"
    for path, accept in (("/score", "text/csv"), ("/score", "application/x-ndjson"), ("/models/orders/score", "*/*")):
        answer = send(served.app, "POST", path, json=[record], headers={"accept": accept})
        assert answer.headers["vaegis-model-digest"] == digest
    tensors = [{"name": "amount", "shape": [1], "datatype": "FP64", "data": [22.5]}]
    for path in ("/v2/models/orders/infer", "/v2/models/orders/versions/1/infer"):
        answer = send(served.app, "POST", path, json={"inputs": tensors})
        assert (answer.json()["model_version"], answer.headers["vaegis-model-digest"]) == ("1", digest)
    assert send(served.app, "POST", "/v2/models/orders/versions/2/infer", json={"inputs": tensors}).status_code == 404
    answer = send(served.app, "POST", "/generate", json={"count": 1})
    assert answer.headers["vaegis-model-digest"] == digest


@pytest.mark.parametrize(
    "fault",
    ["truncated", "absent", "changed", "no pointer", "no folder", "bad pointer", "named pipe", "pointer a pipe"],
)
def test_whatever_is_wrong_with_a_version_the_old_one_stays_and_readiness_too(served, folder, send, record, fault):
    target, pointer = folder / "orders" / "2.onnx", folder / "orders" / POINTER_FILE
    whole = target.read_bytes()
    put_live(folder, "2")
    good_pointer = pointer.read_bytes()
    if fault == "truncated":
        target.write_bytes(whole[:1000])
    elif fault == "absent":
        target.unlink()
    elif fault == "changed":
        target.write_bytes((folder / "orders" / "3.onnx").read_bytes())
    elif fault == "no pointer":
        pointer.unlink()
    elif fault == "no folder":
        shutil.move(folder, folder.with_name("gone"))
    elif "pipe" in fault:
        piped = target if fault == "named pipe" else pointer
        piped.unlink()
        os.mkfifo(piped)
    else:
        pointer.write_text("{")
    for _ in range(3):  # counted and logged once, however often it is looked at
        served.loader.check()
    assert served.live == "1"
    failure = served.described()["failure"]
    assert failure["reason"]
    assert send(served.app, "GET", "/readyz").status_code == 200
    assert send(served.app, "POST", "/score", json=record).status_code == 200
    listed = send(served.app, "GET", "/models").json()
    assert listed["models"][0]["failure"] == failure
    assert served.metric("vaegis_model_loads_total", model="orders", outcome="failed") == 1
    served.loader.check(is_forced=True)
    assert served.metric("vaegis_model_loads_total", model="orders", outcome="failed") == 2
    assert served.metric("vaegis_model_load_failing", model="orders") == 1
    if fault == "no folder":
        shutil.move(folder.with_name("gone"), folder)
    for path, content in ((target, whole), (pointer, good_pointer)):
        path.unlink(missing_ok=True)
        path.write_bytes(content)
    served.loader.check(is_forced=fault == "no folder")
    assert (served.live, served.described()["failure"]) == ("2", None)
    assert served.metric("vaegis_model_load_failing", model="orders") == 0


def test_a_pointer_to_a_version_that_is_not_there_ends_the_start_and_says_what_to_do(folder):
    (folder / "orders" / "1.onnx").unlink()
    with pytest.raises(
        ModelFolderError, match=r"1.onnx: no such file, but \S+live.json names version '1'; put it back"
    ):
        Served(folder, {})


def test_other_columns_are_refused_unless_they_are_allowed(served, folder, renamed, send):
    (folder / "orders" / "4.onnx").write_bytes(renamed)
    put_live(folder, "4")
    served.loader.check()
    assert served.live == "1"
    assert "amount is not scored any more, price is new" in served.described()["failure"]["reason"]
    roll_back(folder, "orders")
    put_live(folder, "4", allow_schema_change=True)
    served.loader.check()
    assert served.live == "4"
    assert "price" in send(served.app, "GET", "/model/schema").json()["properties"]
    document = send(served.app, "GET", "/openapi.json").json()
    assert "price" in document["components"]["schemas"]["Record"]["properties"]
    assert served.metric("vaegis_column_missing_total", model="orders", column="price") == 0
    roll_back(folder, "orders")  # needs no permission
    served.loader.check()
    assert served.live == "1"
    assert "price" not in send(served.app, "GET", "/openapi.json").text


def test_a_schema_differs_by_columns_kinds_and_what_it_takes(artifact):
    schema = artifact.contract.columns
    assert schema_difference(schema, schema) is None
    boolean = next(column for column in schema.columns if column.kind == "boolean")
    swapped = boolean.model_copy(update={"name": schema.columns[0].name})
    other = schema.model_copy(update={"columns": (swapped, *schema.columns[1:]), "ignored": ()})
    difference = schema_difference(schema, other)
    assert difference == f"{swapped.name} was {schema.columns[0].kind} and is boolean, order_id is refused"


def test_an_alpha_that_a_new_version_cannot_promise_keeps_the_old_one(folder, golden_model, hostile):
    def few(calibration):
        return calibration | {"folds": [calibration["folds"][0][:50]], "alpha": 0.05}

    (folder / "orders" / "4.onnx").write_bytes(
        hostile.with_document(golden_model.read_bytes(), MetadataKey.CALIBRATION, few)
    )
    served = Served(folder, {"alpha": 0.01})
    put_live(folder, "4")
    served.loader.check()
    for service in (served, Served(folder, {"alpha": 0.01})):  # at a start as later
        assert service.live == "1"
        assert "needs 99 calibration records" in service.described()["failure"]["reason"]


def test_requests_in_flight_end_on_the_old_version_which_is_then_freed(
    served, folder, new_client, send, record, record_line
):
    collects = gc.isenabled()
    gc.disable()  # what the service has at its start is never searched for cycles
    try:
        send(served.app, "POST", "/score", json=record)
        freed = threading.Event()
        old = weakref.ref(served.models.default.live(), lambda _: freed.set())
        digest = old().digest_header

        async def scenario() -> None:
            client = new_client(served.app)
            client.part(record_line)
            await client.until(lambda: client.asked == 2)
            put_live(folder, "2")
            served.loader.check()
            assert served.live == "2"
            assert old() is not None
            client.part(record_line, more=False)
            await client.end()
            assert client.status == 200
            assert digest in client.sent[0]["headers"]

        asyncio.run(scenario())
        assert freed.wait(20)  # a thread that scored may hold it for a moment more
    finally:
        if collects:
            gc.enable()


def test_each_replaced_version_is_freed_with_its_graph(served, folder, send, record):
    send(served.app, "GET", "/openapi.json")
    send(served.app, "POST", "/score?alpha=0.1", json=record)
    send(served.app, "POST", "/generate", json={"count": 1})
    gone, freed = [], threading.Semaphore(0)
    gc.disable()
    try:
        for number in range(12):
            live = served.models.default.live()
            gone += [weakref.ref(each, lambda _: freed.release()) for each in (live, live.artifact.scorer)]
            del live
            put_live(folder, str(number % 2 + 2))
            served.loader.check()
            send(served.app, "POST", "/score", json=record)
    finally:
        gc.enable()
    assert len(gone) == 24
    assert all(freed.acquire(timeout=20) for _ in gone)  # a thread that scored may hold the last one a moment more


def test_only_the_live_one_of_a_hundred_versions_is_loaded(folder, golden_model, send):
    for number in range(100):
        (folder / "orders" / f"v{number}.onnx").hardlink_to(folder / "orders" / "2.onnx")
    served = Served(folder, {})
    assert len(served.described()["versions"]) == 103
    assert served.metric("vaegis_model_loads_total", model="orders", outcome="succeeded") == 1


def test_several_models_are_served_by_name_and_counted_apart(folder, variant, send, record):
    (folder / "returns").mkdir()
    (folder / "returns" / "a.onnx").write_bytes(variant(7))
    with pytest.raises(ModelFolderError, match="VAEGIS_DEFAULT_MODEL"):
        Served(folder, {})
    served = Served(folder, {"default_model": "orders"})
    for path, model in (("/score", "orders"), ("/models/returns/score", "returns"), ("/models/orders/score", "orders")):
        assert send(served.app, "POST", path, json=record).json()["model"] == model
    assert served.metric("vaegis_records_scored_total", model="orders") == 2
    assert served.metric("vaegis_records_scored_total", model="returns") == 1
    unknown = send(served.app, "POST", "/models/refunds/score", json=record)
    assert unknown.status_code == 404
    assert send(served.app, "POST", "/models/%2e%2e/score", json=record).status_code == 404


def test_a_model_without_a_version_that_loads_is_not_ready_while_others_are(folder, send, record):
    (folder / "returns").mkdir()
    (folder / "returns" / "a.onnx").write_bytes(b"nothing")
    served = Served(folder, {"default_model": "orders"})
    assert send(served.app, "POST", "/score", json=record).status_code == 200
    answer = send(served.app, "POST", "/models/returns/score", json=record)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:vaegis:problem:not-ready")
    assert served.described("returns")["live"] is None
    assert send(served.app, "GET", "/readyz").status_code == 200


def test_a_start_falls_back_to_the_version_before_a_broken_one(folder, send):
    put_live(folder, "2")
    (folder / "orders" / "2.onnx").write_bytes(b"broken")
    served = Served(folder, {})
    assert served.live == "1"
    assert served.described()["failure"]["version"] == "2"
    (folder / "orders" / "1.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"2\.onnx: expected the digest"):
        Served(folder, {})


def test_a_file_that_is_replaced_is_served_by_the_same_name(tmp_path, variant, send, record):
    path = tmp_path / "model.onnx"
    path.write_bytes(variant(1))
    settings = load_settings({}, {})
    app = create_app(load_artifact(path), settings)
    loader = ModelLoader(FileSource(path, "orders", allow_schema_change=False), app.models, settings)
    app.readiness.admit(load_artifact(path).verify())
    loader.check()
    loaded = {"model": "orders", "outcome": "succeeded"}
    # The same content is not loaded again.
    assert app.metrics.registry.get_sample_value("vaegis_model_loads_total", loaded) == 1
    (tmp_path / "new").write_bytes(variant(2))
    (tmp_path / "new").replace(path)
    loader.check()
    assert json.loads(send(app, "POST", "/score", json=record).content)["model_digest"] == (
        f"sha256:{load_artifact(path).digest}"
    )
    assert send(app, "POST", "/v2/models/orders/versions/1/infer", json={}).status_code == 404
