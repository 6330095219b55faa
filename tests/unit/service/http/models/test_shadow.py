"""A version in shadow: what is compared and counted, and that nobody who asks the live version notices."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vaegis.service.commands.gate import require_gate
from vaegis.service.errors import GateError, SettingsError
from vaegis.service.gate import parse_gate
from vaegis.service.http.app import create_app
from vaegis.service.http.models.loader import FolderSource, ModelLoader
from vaegis.service.http.models.registry import ServedAs, ShadowAnswer
from vaegis.service.http.models.served_model import ShadowedBatch
from vaegis.service.http.models.shadow import Shadow
from vaegis.service.http.observability.metrics import Metrics
from vaegis.service.http.observability.model_metrics import ShadowMetrics
from vaegis.service.model_file import DIGEST_PREFIX, MetadataKey, content_digest
from vaegis.service.model_folder import live_version, promote, set_shadow
from vaegis.service.records.python_records import columns_from_records
from vaegis.service.settings import load_settings
from vaegis.service.verdicts import Explain


def digest_of(folder: Path, version: str) -> str:
    return DIGEST_PREFIX + content_digest((folder / "orders" / f"{version}.onnx").read_bytes())


@pytest.fixture
def folder(tmp_path, golden_model, hostile) -> Path:
    """Version 1; version 2, whose calibration scores are all 1 lower; and version 3 with other columns."""

    def lower(calibration):
        return calibration | {"folds": [[score - 1.0 for score in fold] for fold in calibration["folds"]]}

    def without_ignored(schema):
        return schema | {"ignored": []}

    (tmp_path / "orders").mkdir()
    golden = golden_model.read_bytes()
    (tmp_path / "orders" / "1.onnx").write_bytes(golden)
    (tmp_path / "orders" / "2.onnx").write_bytes(hostile.with_document(golden, MetadataKey.CALIBRATION, lower))
    (tmp_path / "orders" / "3.onnx").write_bytes(hostile.with_document(golden, MetadataKey.SCHEMA, without_ignored))
    promote(tmp_path, "orders", "1", digest_of(tmp_path, "1"))
    return tmp_path


class Served:
    """A service over the folder, that shadows all of its traffic."""

    def __init__(self, folder: Path) -> None:
        settings = load_settings({}, {"shadow_share": 1})
        source = FolderSource(folder, allow_schema_change=False)
        self.app = create_app(None, settings, served_as=ServedAs("orders", folder=folder))
        self.models = self.app.models
        self.loader = ModelLoader(source, self.models, settings)
        self.loader.load_first()
        self.app.readiness.admit(self.models.default.live().artifact.verify())

    @property
    def shadow(self) -> Shadow | None:
        return self.models.default.shadow


@pytest.fixture
def served(folder):
    served = Served(folder)
    yield served
    served.models.close()


def test_what_the_shadow_says_is_compared_and_told(served, folder, send, record):
    assert send(served.app, "GET", "/models/orders/shadow").status_code == 404
    set_shadow(folder, "orders", "2", digest_of(folder, "2"))
    served.loader.check()
    lone = send(served.app, "POST", "/score", json=record).json()
    send(served.app, "POST", "/score", json=[record, record | {"amount": 1e9}])
    send(served.app, "POST", "/drill", json={})
    served.shadow.drain()
    answer = ShadowAnswer.model_validate_json(send(served.app, "GET", "/models/orders/shadow").content)
    assert (answer.live, answer.version, answer.digest) == ("1", "2", digest_of(folder, "2"))
    assert (answer.records, answer.live_flagged) == (3, 1)  # the drill is not among them
    assert answer.candidate_flagged >= answer.live_flagged
    assert answer.p_value_shift > 0
    assert answer.disagreement == (answer.candidate_flagged - answer.live_flagged) / 3
    assert lone["model_digest"] == digest_of(folder, "1")
    assert send(served.app, "GET", "/models").json()["models"][0]["shadow"] == "2"


def test_a_shadow_ends_with_its_promotion_or_when_it_is_stopped(served, folder, send):
    set_shadow(folder, "orders", "2", digest_of(folder, "2"))
    served.loader.check()
    assert served.shadow is not None
    set_shadow(folder, "orders", None)
    served.loader.check()
    assert served.shadow is None
    set_shadow(folder, "orders", "2", digest_of(folder, "2"))
    served.loader.check()
    promote(folder, "orders", "2", digest_of(folder, "2"))
    served.loader.check()
    assert served.shadow is None
    assert served.models.default.live().version == "2"
    assert send(served.app, "GET", "/models/orders/shadow").status_code == 404


@pytest.mark.parametrize(("version", "reason"), [("3", "expected the columns of the live"), ("4", "no such file")])
def test_a_shadow_that_cannot_be_used_is_reported_and_leaves_the_live_version_alone(
    served, folder, send, record, version, reason
):
    (folder / "orders" / "4.onnx").write_bytes((folder / "orders" / "2.onnx").read_bytes())
    set_shadow(folder, "orders", version, digest_of(folder, version))
    (folder / "orders" / "4.onnx").unlink()
    served.loader.check()
    model = send(served.app, "GET", "/models").json()["models"][0]
    assert reason in model["shadow_failure"]["reason"]
    assert (model["live"]["version"], model["failure"], model["shadow"]) == ("1", None, None)
    assert send(served.app, "POST", "/score", json=record).status_code == 200


def test_another_live_version_is_compared_anew(served, folder, send, record):
    set_shadow(folder, "orders", "2", digest_of(folder, "2"))
    served.loader.check()
    send(served.app, "POST", "/score", json=record)
    served.shadow.drain()
    (folder / "orders" / "5.onnx").write_bytes((folder / "orders" / "3.onnx").read_bytes())
    promote(folder, "orders", "5", digest_of(folder, "5"), allow_schema_change=True)
    served.loader.check()
    answer = send(served.app, "GET", "/models/orders/shadow").json()
    assert (answer["live"], answer["version"], answer["records"], answer["disagreement"]) == ("5", "2", 0, None)


@pytest.fixture
def batch(artifact) -> ShadowedBatch:
    columns = columns_from_records(artifact.contract.golden.records[:4], artifact.contract.columns)
    scores = artifact.scorer.score(columns)
    return ShadowedBatch(
        columns, scores, artifact.judge_scored(columns, scores, alpha=0.01, explain=Explain.NONE), 0.01
    )


def test_batches_that_come_too_fast_are_dropped_and_counted(artifact, batch):
    metrics = ShadowMetrics(Metrics(), "orders", "1", "2")
    began, ends = threading.Event(), threading.Event()

    class Slow:
        def score(self, columns):
            began.set()
            ends.wait(60)
            return artifact.scorer.score(columns)

    slow = SimpleNamespace(contract=artifact.contract, scorer=Slow(), judge_scored=artifact.judge_scored)
    shadow = Shadow(SimpleNamespace(artifact=slow), 1.0, metrics)
    shadow.offer(batch)
    assert began.wait(60)
    for _ in range(40):  # 32 of them can wait
        shadow.offer(batch)
    assert metrics.dropped._value.get() == 8 * 4
    ends.set()
    shadow.drain()
    shadow.close()
    shadow.join()
    assert sum(counter._value.get() for counter in metrics.verdicts) == 33 * 4


def test_a_shadow_that_fails_counts_and_goes_on(artifact, batch):
    metrics = ShadowMetrics(Metrics(), "orders", "1", "2")
    shadow = Shadow(SimpleNamespace(artifact=artifact), 1.0, metrics)
    shadow.offer(batch._replace(verdicts=SimpleNamespace(is_anomaly=np.zeros(3, bool), p_value=np.ones(3))))
    shadow.offer(batch)
    shadow.drain()
    shadow.close()
    shadow.join()
    assert metrics.failed._value.get() == 4
    assert sum(counter._value.get() for counter in metrics.verdicts) == 4


def test_a_gate_asks_a_service_and_refuses_what_does_not_hold(served, folder, serving, send, record, tmp_path):
    service = serving(served.app)
    arguments = {"name": "orders", "version": "2", "url": f"http://127.0.0.1:{service.address[1]}", "key_file": None}

    def passes(gate: str | None, digest: str = digest_of(folder, "2"), **changed: object) -> None:
        require_gate(SimpleNamespace(**{**arguments, "gate": gate, **changed}), digest)

    passes(None, url="http://127.0.0.1:1")
    with pytest.raises(GateError, match=r"answered 404: models: no version of 'orders' is in shadow"):
        passes("records>0")
    set_shadow(folder, "orders", "2", digest_of(folder, "2"))
    served.loader.check()
    with pytest.raises(GateError, match=r"expected disagreement<1, got no figure after 0 records"):
        passes("disagreement<1")
    send(served.app, "POST", "/score", json=[record] * 5)
    served.shadow.drain()
    passes("records>4, failed<1, p_value_shift<5")
    with pytest.raises(GateError, match=r"expected records>5, got 5"):
        passes("records>5")
    with pytest.raises(GateError, match="the file of version '2' is not in shadow"):
        passes("records>4", digest=digest_of(folder, "3"))
    with pytest.raises(GateError, match="cannot be asked"):
        passes("records>4", url="http://127.0.0.1:1")
    with pytest.raises(SettingsError, match="--url"):
        passes("records>4", url="file:///etc/passwd")
    with pytest.raises(SettingsError, match="cannot be read"):
        passes("records>4", key_file=tmp_path / "none")


def test_a_promotion_over_http_is_refused_when_its_gate_does_not_hold(served, folder, send, record):
    def promoted(version: str, gate: str) -> tuple[int, str]:
        body = {"version": version, "gate": gate}
        answer = send(served.app, "POST", "/models/orders/promote", json=body)
        return answer.status_code, answer.json().get("detail", "")

    (folder / "orders" / "6.onnx").write_bytes((folder / "orders" / "1.onnx").read_bytes())
    not_in_shadow = (409, "gate: the file of version '6' is not in shadow; run `vaegis shadow orders 6`")
    assert promoted("6", "records>0") == not_in_shadow
    set_shadow(folder, "orders", "2", digest_of(folder, "2"))
    served.loader.check()
    assert promoted("6", "records>0") == not_in_shadow
    assert promoted("2", "records>0") == (409, "gate: expected records>0, got 0 after 0 records")
    assert promoted("2", "speed<1")[0] == 422
    assert live_version(folder, "orders")[0] == "1"
    send(served.app, "POST", "/score", json=[record] * 5)
    served.shadow.drain()
    assert promoted("2", "records>4,p_value_shift<5") == (200, "")
    assert live_version(folder, "orders")[0] == "2"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"digest": "d", "records": 1, "disagreement": "0"}',
        b'{"digest": "d", "records": 1, "disagreement": %b}' % (b"1" * 400),
        b'{"digest": "d"}',
        b"[" * 100_000,
        b"",
    ],
)
def test_a_gate_asks_another_program_and_says_so(answer):
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        arguments = {"name": "orders", "version": "2", "url": f"http://127.0.0.1:{server.server_port}"}
        with pytest.raises(GateError, match="got another document"):
            require_gate(SimpleNamespace(gate="disagreement<1", key_file=None, **arguments), "d")
        thread.join()


@pytest.mark.parametrize("gate", ["", "records", "records=1", "speed<1", "records<x", "records<1,"])
def test_a_gate_that_cannot_be_read_is_refused(gate):
    with pytest.raises(SettingsError, match="gate: expected conditions"):
        parse_gate(gate)
