from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from vaegis.service.artifact import load_artifact
from vaegis.service.errors import ArtifactError
from vaegis.service.model_file import MetadataKey, digest_entry
from vaegis.service.onnx_model import metadata_props

METADATA = 14
DIGEST_BYTES = len(digest_entry(b""))

tampering = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="session")
def golden_bytes(golden_model: Path) -> bytes:
    return golden_model.read_bytes()


@pytest.fixture(scope="session")
def graph_bytes(golden_bytes: bytes) -> bytes:
    """The golden model without its metadata, which stands after the graph."""
    return golden_bytes[: golden_bytes.index(MetadataKey.FORMAT.encode()) - 4]


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[bytes], object]:
    """Write bytes to a file and open it as a model."""

    def load(data: bytes) -> object:
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        return load_artifact(path)

    return load


@pytest.fixture
def with_metadata(golden_bytes: bytes, graph_bytes: bytes, field: Callable[..., bytes]) -> Callable[..., bytes]:
    """Give the golden model with other metadata, sealed by a digest that fits."""
    stored = {key: value for key, value in metadata_props(memoryview(golden_bytes)) if key != MetadataKey.DIGEST}

    def rebuild(changed: dict[str, str | None], *, graph: bytes = graph_bytes) -> bytes:
        entries = {key: value for key, value in (stored | changed).items() if value is not None}
        body = graph + b"".join(
            field(METADATA, field(1, key.encode()) + field(2, value.encode())) for key, value in entries.items()
        )
        return sealed(body)

    return rebuild


@pytest.fixture(scope="session")
def documents(golden_bytes: bytes) -> dict[str, object]:
    """The JSON documents of the golden model's metadata."""
    entries = metadata_props(memoryview(golden_bytes))
    return {key: json.loads(value) for key, value in entries if key != MetadataKey.DIGEST}


def shapes_of(records: int, members: int) -> dict[str, list[int] | None]:
    """Return the shapes of the golden model's outputs."""
    return {
        "score": [records],
        "fold_scores": [records, members],
        "reconstruction_error": [records],
        "kl": [records],
        "contributions": [records, 5],
        "expected": [records, 4],
    }


def sealed(body: bytes) -> bytes:
    return body + digest_entry(body)


def test_a_model_opens_with_its_metadata_and_its_digest(golden_model, golden_bytes, artifact):
    assert artifact.contract.provenance.model_name == "orders"
    assert artifact.contract.columns.names == ("amount", "express", "country", "placed_at")
    assert artifact.size_bytes == len(golden_bytes)
    assert artifact.digest == hashlib.sha256(golden_bytes[:-DIGEST_BYTES]).hexdigest()
    assert [tuple(fold.tolist()) for fold in artifact.calibration_folds] == list(artifact.contract.calibration.folds)


def test_the_golden_records_are_reproduced(artifact):
    verification = artifact.verify()
    assert verification.records == len(artifact.contract.golden.records)
    assert verification.largest_difference < 1e-2


def test_metadata_written_again_opens_like_the_original(opened, with_metadata, artifact):
    assert opened(with_metadata({})).contract == artifact.contract


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    path = tmp_path / "absent.onnx"
    with pytest.raises(ArtifactError, match=r"absent\.onnx: cannot be read: No such file"):
        load_artifact(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be read: expected a regular file, got a directory"):
        load_artifact(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a complete ONNX file written by vaegis-train, got an empty file"),
        (b"<html>404</html>", "expected a complete ONNX file, got 16 bytes that are not an ONNX model"),
        (bytes(1000), "expected a complete ONNX file"),
        (b"\x08\x08\x12\x07pytorch", "got 11 bytes without the metadata 'vaegis.format': another ONNX model, or none"),
        (b"\x72\x08\x0a\x01\xff\x12\x03abc", "expected a complete ONNX file"),
    ],
    ids=["empty", "a web page", "zeros", "an ONNX file of another producer", "metadata that is not UTF-8"],
)
def test_a_file_that_is_none_of_ours_is_refused(opened, data, message):
    with pytest.raises(ArtifactError, match=message):
        opened(data)


@given(st.binary(max_size=500))
@tampering
def test_random_bytes_are_refused(opened, data):
    with pytest.raises(ArtifactError):
        opened(data)


@given(st.data())
@tampering
def test_a_truncated_file_is_refused(opened, golden_bytes, data):
    length = data.draw(st.integers(0, len(golden_bytes) - 1))
    with pytest.raises(ArtifactError, match=r"an empty file|only the beginning|cut off|without the metadata"):
        opened(golden_bytes[:length])


def test_a_file_cut_off_between_two_messages_is_refused(opened, golden_bytes, graph_bytes):
    with pytest.raises(ArtifactError, match="the digest does not match the content"):
        opened(golden_bytes[:-DIGEST_BYTES])
    with pytest.raises(ArtifactError, match="without the metadata"):
        opened(graph_bytes)


@given(st.data())
@tampering
def test_a_file_with_one_byte_changed_is_refused(opened, golden_bytes, data):
    altered = bytearray(golden_bytes)
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ArtifactError):
        opened(bytes(altered))


@pytest.mark.parametrize("suffix", [b"\n", b"\x08\x08", digest_entry(b"")])
def test_a_file_with_something_appended_is_refused(opened, golden_bytes, suffix):
    with pytest.raises(ArtifactError):
        opened(golden_bytes + suffix)


@given(st.data())
@tampering
def test_a_change_sealed_with_a_fitting_digest_is_refused_or_harmless(opened, golden_bytes, data):
    # Whoever can seal can write any model; what must hold is that nothing but ArtifactError comes of it.
    body = bytearray(golden_bytes[:-DIGEST_BYTES])
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=3)):
        body[at] = data.draw(st.integers(0, 255))
    assume(bytes(body) != golden_bytes[:-DIGEST_BYTES])
    with contextlib.suppress(ArtifactError):
        opened(sealed(bytes(body))).verify()


@pytest.mark.parametrize("version", ["0", "3", "1.0", "", "one", "1" * 1000])
def test_an_unknown_format_version_is_refused(opened, with_metadata, version):
    with pytest.raises(ArtifactError, match=f"expected format version 1 or 2, got '{version[:20]}'"):
        opened(with_metadata({MetadataKey.FORMAT: version}))


@pytest.mark.parametrize(
    "key", sorted(set(MetadataKey) - {MetadataKey.FORMAT, MetadataKey.DIGEST, MetadataKey.EVALUATION})
)
def test_each_metadata_document_is_needed(opened, with_metadata, key):
    with pytest.raises(ArtifactError, match=f"metadata: expected the key '{key.value}', got none"):
        opened(with_metadata({key: None}))


@pytest.mark.parametrize("document", ["", "{", "null", "[]", '{"unknown": 1}', "[" * 100_000, "NaN"])
@pytest.mark.parametrize("key", [key for key in MetadataKey if key not in (MetadataKey.FORMAT, MetadataKey.DIGEST)])
def test_a_broken_metadata_document_is_refused_by_name(opened, with_metadata, key, document):
    with pytest.raises(ArtifactError, match=rf"metadata {key.value}: \S+: "):
        opened(with_metadata({key: document}))


def test_a_fault_within_a_document_is_named_with_its_place(opened, with_metadata, documents):
    calibration = documents[MetadataKey.CALIBRATION] | {"alpha": 2.0}
    with pytest.raises(ArtifactError, match=r"metadata vaegis\.calibration: alpha: Input should be less than 1"):
        opened(with_metadata({MetadataKey.CALIBRATION: json.dumps(calibration)}))


@pytest.mark.parametrize("repeated", [MetadataKey.FORMAT, MetadataKey.CALIBRATION, "foreign"])
def test_a_metadata_key_that_comes_twice_is_refused(opened, golden_bytes, field, repeated):
    entry = field(METADATA, field(1, repeated.encode()) + field(2, b"1"))
    with pytest.raises(ArtifactError, match="expected each metadata key once"):
        opened(sealed(golden_bytes[:-DIGEST_BYTES] + entry + entry))


def test_metadata_of_others_is_let_pass(opened, with_metadata, artifact):
    assert opened(with_metadata({"team": "data"})).contract == artifact.contract


def test_a_file_that_a_tensor_names_is_not_read(opened, hostile, golden_bytes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(b"\xff" * 8)
    with pytest.raises(ArtifactError, match=r"model\.onnx: graph: initializer\[\d+\]: expected a field number"):
        opened(hostile.reads_file(golden_bytes, "secret", 8))


def test_tolerances_that_let_any_score_pass_are_refused(opened, hostile, golden_bytes):
    with pytest.raises(ArtifactError, match=r"metadata vaegis\.golden: relative_tolerance: Input should be less than"):
        opened(hostile.tolerates_anything(golden_bytes))


def test_a_decoder_of_two_billion_latents_is_refused(opened, hostile, golden_bytes):
    with pytest.raises(ArtifactError, match=r"metadata vaegis\.generator: latent_dim: Input should be less than"):
        opened(hostile.draws_in_many_latents(golden_bytes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda columns: columns[:2] + columns[3:], r"expected the inputs .*, got .*strings"),  # country gone
        (lambda columns: columns[1:], "expected the inputs"),
        (lambda columns: [*columns, columns[0] | {"name": "second"}], "expected the inputs"),
        (lambda columns: [*columns, columns[2] | {"name": "second"}], "expected the inputs"),
    ],
)
def test_columns_that_do_not_fit_the_graph_are_refused(opened, with_metadata, documents, change, message):
    schema = documents[MetadataKey.SCHEMA]
    schema = schema | {"columns": change(schema["columns"])}
    with pytest.raises(ArtifactError, match=f"graph: {message}"):
        opened(with_metadata({MetadataKey.SCHEMA: json.dumps(schema)}))


def test_a_graph_that_the_runtime_refuses_is_refused(opened, hostile, golden_bytes):
    adds_text = hostile.node("Add", ["strings", "numbers"], ["sum"])
    with pytest.raises(ArtifactError, match=r"expected a graph that onnxruntime .* runs, got: "):
        opened(hostile.with_graph(golden_bytes, adds_text))


@pytest.mark.parametrize("name", ["score", "fold_scores", "kl", "contributions", "expected"])
def test_a_graph_without_an_output_is_refused(opened, with_metadata, graph_bytes, name):
    renamed = graph_bytes.replace(name.encode(), name[:-1].encode() + b"_")
    with pytest.raises(ArtifactError, match=f"graph: expected the output '{name}'"):
        opened(with_metadata({}, graph=renamed))


@pytest.mark.parametrize("statistic", ["score", "reconstruction_error", "kl"])
def test_a_golden_record_that_is_not_reproduced_is_refused(opened, with_metadata, documents, statistic):
    golden = json.loads(json.dumps(documents[MetadataKey.GOLDEN]))
    golden["scores"][2][statistic] += 1.0 + abs(golden["scores"][2][statistic]) * 1e-2
    with pytest.raises(ArtifactError, match=r"golden records: expected a score of .* for record 2, .*; 1 of"):
        opened(with_metadata({MetadataKey.GOLDEN: json.dumps(golden)})).verify()


@pytest.mark.parametrize("record", [{"amount": "much"}, {"unknown": 1}, {"amount": 10**400}, {}])
def test_a_golden_record_of_another_schema_is_refused(opened, with_metadata, documents, record):
    golden = json.loads(json.dumps(documents[MetadataKey.GOLDEN]))
    golden["records"][0] = record
    with pytest.raises(ArtifactError, match="golden records: the records do not fit the file's own schema: "):
        opened(with_metadata({MetadataKey.GOLDEN: json.dumps(golden)})).verify()


@pytest.fixture
def onnx() -> ModuleType:
    """The package of that name, which only training needs."""
    return pytest.importorskip("onnx")


@pytest.fixture
def graph(onnx) -> Callable[..., bytes]:
    """Make a graph that takes what the golden model takes and gives constants, none where the shape is None."""
    helper, kinds = onnx.helper, onnx.TensorProto

    def make(
        outputs: dict[str, list[int] | None] | None = None,
        *,
        numbers: object = None,
        nodes: tuple[object, ...] = (),
        initializer: tuple[object, ...] = (),
    ) -> bytes:
        shapes = shapes_of(1, 1)
        made, given_ = [], []
        for name, shape in (shapes | (outputs or {})).items():
            given_.append(helper.make_tensor_value_info(name, kinds.DOUBLE, None))
            if shape is not None:
                value = helper.make_tensor("value", kinds.DOUBLE, shape, bytes(8 * math.prod(shape)), raw=True)
                made.append(helper.make_node("Constant", [], [name], value=value))
        taken = [
            numbers or helper.make_tensor_value_info("numbers", kinds.DOUBLE, ["n", 3]),
            helper.make_tensor_value_info("strings", kinds.STRING, ["n", 1]),
            helper.make_tensor_value_info("strings_observed", kinds.BOOL, ["n", 1]),
        ]
        body = helper.make_graph([*made, *nodes], "graph", taken, given_, initializer=list(initializer))
        model = helper.make_model(body, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
        return model.SerializeToString()

    return make


@pytest.mark.training
def test_a_plain_onnx_file_is_none_of_ours(opened, graph):
    with pytest.raises(ArtifactError, match=r"expected a file written by vaegis-train, got \d+ bytes without the"):
        opened(sealed(graph()))


@pytest.mark.training
@pytest.mark.parametrize(
    "outputs", [{"contributions": [25, 4]}, {"expected": [25]}, {"score": [25, 1]}, {"fold_scores": [25, 9]}]
)
def test_outputs_of_other_shapes_are_refused(opened, with_metadata, graph, artifact, outputs):
    shapes = shapes_of(len(artifact.contract.golden.records), len(artifact.contract.calibration.folds))
    with pytest.raises(ArtifactError, match="golden records: expected a score of"):
        opened(with_metadata({}, graph=graph(shapes))).verify()
    with pytest.raises(ArtifactError, match="graph: expected outputs"):
        opened(with_metadata({}, graph=graph(shapes | outputs))).verify()


@pytest.mark.training
def test_a_graph_that_fails_when_it_runs_is_refused(opened, with_metadata, graph, onnx):
    helper, kinds = onnx.helper, onnx.TensorProto
    beyond = helper.make_tensor("beyond", kinds.INT64, [1], (99).to_bytes(8, "little"), raw=True)
    nodes = (helper.make_node("Gather", ["numbers", "beyond"], ["kl"], axis=1),)
    data = graph({"kl": None}, nodes=nodes, initializer=(beyond,))
    with pytest.raises(ArtifactError, match="golden records: the graph cannot score them: "):
        opened(with_metadata({}, graph=data)).verify()


@pytest.mark.training
def test_an_input_that_is_no_table_is_refused(opened, with_metadata, graph, onnx):
    helper, kinds = onnx.helper, onnx.TensorProto
    for numbers in (
        helper.make_tensor_value_info("numbers", kinds.DOUBLE, []),
        helper.make_tensor_value_info("numbers", kinds.DOUBLE, ["n", 3, 1]),
        helper.make_tensor_value_info("numbers", kinds.FLOAT, ["n", 3]),
        helper.make_tensor_sequence_value_info("numbers", kinds.DOUBLE, ["n", 3]),
    ):
        with pytest.raises(ArtifactError, match=r"graph: (expected the inputs|input\[0\]: type: expected the fields)"):
            opened(with_metadata({}, graph=graph(numbers=numbers)))
