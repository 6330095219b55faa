from __future__ import annotations

import base64
import dataclasses
import resource
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from vaegis.service.artifact import load_artifact
from vaegis.service.columns import Columns
from vaegis.service.contract import Calibration, Provenance
from vaegis.service.generation import Generator as RecordGenerator
from vaegis.service.runtime import open_session
from vaegis.service.scorer import Scores
from vaegis.training.calibration import calibrate
from vaegis.training.config import CalibrationSettings
from vaegis.training.data.schema import category_codes
from vaegis.training.errors import ExportError
from vaegis.training.export.model_file import check_destination, export, generator_document, scoring_model
from vaegis.training.model import prior
from vaegis.training.model.generator import GeneratorGraph
from vaegis.training.model.prior import Blocks

pytestmark = pytest.mark.training

ABSOLUTE, RELATIVE = 1e-2, 1e-4  # nats: what the file itself allows between machines
HUGE = 1.7e308
PROVENANCE = Provenance(
    model_name="records",
    created_at=datetime(2024, 1, 1, tzinfo=UTC),
    vaegis_version="0",
    torch_version="0",
    seed=3,
    sources=("records.csv",),
    records={"read": 200},
    split="random",
    settings={},
    fit={},
)


@torch.no_grad()
def by_torch(exported, records: Columns) -> Scores:
    codes = category_codes(records, exported.prepared.schema)
    outputs = exported.model.module(torch.from_numpy(records.numbers), codes)
    return Scores(*(part.numpy() for part in outputs))


def missing(records: Columns) -> Columns:
    nulls = np.full_like(records.numbers, np.nan)
    return Columns(nulls, np.full_like(records.strings, ""), np.zeros_like(records.strings_observed))


def partly_missing(records: Columns) -> Columns:
    holes = np.random.default_rng(0).random
    numbers = np.where(holes(records.numbers.shape) < 0.4, np.nan, records.numbers)
    return Columns(numbers, records.strings, records.strings_observed & (holes(records.strings.shape) > 0.4))


def unseen(records: Columns) -> Columns:
    odd = np.resize(np.array(["never seen", "", "\0", "\u4e2d", "x" * 10_000], dtype=object), records.strings.shape)
    return Columns(records.numbers, odd, np.ones_like(records.strings_observed))


def huge(records: Columns) -> Columns:
    sizes = np.resize([HUGE, -HUGE, 1e18, -1e18, 1e7, 5e-324], records.numbers.shape)
    # A truth value is 0 or 1: the reading of records lets nothing else through.
    null = np.isnan(records.numbers)
    truth = (np.isin(records.numbers, (0.0, 1.0)) | null).all(axis=0)
    return Columns(np.where(truth | null, records.numbers, sizes), records.strings, records.strings_observed)


def empty(records: Columns) -> Columns:
    return records.rows(slice(0, 0))


def single(records: Columns) -> Columns:
    return records.rows(slice(7, 8))


def ordinary(records: Columns) -> Columns:
    return records


@pytest.mark.parametrize("alter", [ordinary, missing, partly_missing, unseen, huge, empty, single])
def test_torch_and_onnxruntime_agree(exported, alter):
    require_agreement(exported, alter(exported.prepared.columns))


@pytest.mark.parametrize("members", [1, 3])
def test_they_agree_where_the_exemplars_make_several_blocks(new_export, graph_of, monkeypatch, members):
    monkeypatch.setattr(prior, "BLOCK", 8)
    made = new_export("all", members=members)
    fitted, schema = made.fitted, made.prepared.schema
    values = made.prepared.values(fitted.vae)
    module = graph_of(fitted, schema, values, torch.from_numpy(made.splits.fit))
    by_blocks = dataclasses.replace(made, model=scoring_model(module, schema))
    for alter in (ordinary, partly_missing, empty, single):
        require_agreement(by_blocks, alter(made.prepared.columns))
    kl = by_torch(by_blocks, made.prepared.columns).kl
    with torch.no_grad():
        in_blocks = fitted.vae.prior.kl(*fitted.vae.encode(values), fitted.exemplars, blocks=Blocks(4, 8))
    np.testing.assert_allclose(kl, in_blocks.mean(0), rtol=RELATIVE)
    assert (kl > by_torch(made, made.prepared.columns).kl).any()  # as one mixture it is never more


def test_they_agree_whatever_kinds_of_column_there_are(exported_mix):
    for alter in (ordinary, partly_missing, empty):
        require_agreement(exported_mix, alter(exported_mix.prepared.columns))


def test_a_decoder_is_exported_whatever_kinds_of_column_there_are(exported_mix):
    fitted, schema = exported_mix.fitted, exported_mix.prepared.schema
    document = generator_document(fitted, schema)
    inputs = {"exemplar": np.arange(5), "latent_noise": np.ones((5, document.latent_dim), dtype=np.float32)}
    given = open_session(base64.b64decode(document.model)).run(None, inputs)
    with torch.no_grad():
        expected = GeneratorGraph(fitted.vae, schema, fitted.exemplars).eval()(*map(torch.from_numpy, inputs.values()))
    for got, want in zip(given, expected, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want.numpy(), rtol=RELATIVE, atol=1e-5)


def require_agreement(exported, records: Columns) -> None:
    given, expected = exported.model.scorer.score(records), by_torch(exported, records)
    for name in ("score", "fold_scores", "reconstruction_error", "kl", "contributions"):
        got, want = getattr(given, name), getattr(expected, name)
        assert got.shape == want.shape
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, want, rtol=RELATIVE, atol=ABSOLUTE, err_msg=name)
    assert given.expected.shape == expected.expected.shape
    assert np.isfinite(given.expected).all()


def test_what_is_expected_agrees_but_for_near_ties(exported_all):
    records = exported_all.prepared.columns
    given, expected = exported_all.model.scorer.score(records).expected, by_torch(exported_all, records).expected
    np.testing.assert_allclose(given[:, [1, 3, 5]], expected[:, [1, 3, 5]], rtol=1e-4, atol=1e-4)
    assert (given[:, [0, 2, 4]] == expected[:, [0, 2, 4]]).mean() > 0.99


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture(scope="module")
def calibration(exported_all) -> Calibration:
    return calibrate(
        exported_all.model.scorer, exported_all.held_out, CalibrationSettings(alpha=0.05), exported_all.splits.method
    )


@pytest.fixture
def write(exported_all, generator, calibration) -> Callable[..., None]:
    """Export the model with all kinds of column to a path."""

    def run(path: Path, **changed: object) -> None:
        parts = {
            "model": exported_all.model,
            "generator": generator,
            "calibration": calibration,
            "provenance": PROVENANCE,
            "sample": exported_all.prepared.columns,
        }
        export(*(parts | changed).values(), path)

    return run


@pytest.fixture
def old_file(tmp_path: Path) -> Iterator[Path]:
    """A file that stands where the model is to go; whatever the test does, it is there afterwards, alone."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the model before")
    yield path
    assert path.read_bytes() == b"the model before"
    assert names_in(tmp_path) == ["model.onnx"]


def test_the_file_holds_the_graph_and_every_document(write, exported_all, generator, calibration, tmp_path):
    path = tmp_path / "model.onnx"
    write(path)
    artifact = load_artifact(path)
    assert artifact.verify().largest_difference < ABSOLUTE
    contract = artifact.contract
    assert contract.columns == exported_all.prepared.schema
    assert contract.calibration == calibration
    assert contract.generator == generator
    assert contract.provenance == PROVENANCE
    records = exported_all.prepared.columns
    given, expected = artifact.scorer.score(records), exported_all.model.scorer.score(records)
    assert np.array_equal(given.score, expected.score)
    assert names_in(path.parent) == ["model.onnx"]


def test_the_golden_records_are_odd_as_well_as_ordinary_and_none_is_a_training_record(write, tmp_path, exported_all):
    write(tmp_path / "model.onnx")
    golden = load_artifact(tmp_path / "model.onnx").contract.golden.records
    amounts = [record["amount"] for record in golden]
    assert 1e300 in amounts
    assert any(record["country"] == "unseen" for record in golden)
    assert any(record["country"] is None for record in golden)
    known = set(map(tuple, exported_all.prepared.columns.numbers[:, [0, 3]].tolist()))
    assert not known & {(record["amount"], record["weight"]) for record in golden}


def test_the_same_model_gives_the_same_bytes(write, tmp_path):
    write(tmp_path / "one.onnx")
    write(tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_an_existing_file_is_replaced_and_keeps_its_mode(write, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the model before")
    path.chmod(0o640)
    write(path)
    assert load_artifact(path).contract.provenance == PROVENANCE
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_new_file_is_readable_by_others(write, tmp_path):
    write(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_mode & 0o777 == 0o644


def test_the_decoder_in_the_file_draws_records(write, tmp_path):
    write(tmp_path / "model.onnx")
    contract = load_artifact(tmp_path / "model.onnx").contract
    records = RecordGenerator(contract).draw(5, seed=1)
    assert {name for record in records for name in record} == set(contract.columns.names)


def test_an_ensemble_is_written_with_a_calibration_of_each_fold_and_draws_by_its_first_member(
    write, new_export, tmp_path
):
    ensemble = new_export("all", members=3)
    calibration = calibrate(
        ensemble.model.scorer, ensemble.held_out, CalibrationSettings(alpha=0.05), ensemble.splits.method
    )
    generator = generator_document(ensemble.fitted, ensemble.prepared.schema)
    path = tmp_path / "ensemble.onnx"
    write(path, model=ensemble.model, generator=generator, calibration=calibration)
    artifact = load_artifact(path)
    assert artifact.verify().largest_difference < ABSOLUTE
    assert [len(fold) for fold in artifact.contract.calibration.folds] == [67, 67, 66]
    records = ensemble.prepared.columns
    given = artifact.scorer.score(records)
    assert given.fold_scores.shape == (200, 3)
    joined = 0.5 * (given.fold_scores.mean(1) + given.fold_scores.max(1))
    np.testing.assert_allclose(joined, given.score, atol=0.04)
    assert (given.score <= joined + 1e-9).all()
    first = dataclasses.replace(
        ensemble.fitted, vae=ensemble.fitted.vae.member(0), exemplars=ensemble.fitted.exemplars[:1]
    )
    alone = generator_document(first, ensemble.prepared.schema)
    drawn, expected = (
        RecordGenerator(artifact.contract.model_copy(update={"generator": document})).draw(20, seed=1)
        for document in (generator, alone)
    )
    assert drawn == expected


@pytest.mark.parametrize(("output", "by"), [("kl", 1.0), ("value", float("nan"))])
def test_a_graph_that_disagrees_with_torch_is_not_written(write, exported_all, old_file, output, by):
    tensor = getattr(exported_all.model.module, output)
    before = tensor.clone()
    try:
        tensor += by
        with pytest.raises(
            ExportError, match=r"ordinary records, score: expected the same values .*in column [^;]+; columns"
        ):
            write(old_file)
    finally:
        tensor.copy_(before)


def test_a_file_that_does_not_reproduce_its_golden_records_is_not_written(write, exported_all, old_file):
    # The file is made of one graph and its golden scores of another.
    other = onnx.ModelProto()
    other.CopyFrom(exported_all.model.proto)
    for initializer in other.graph.initializer:
        if initializer.name == "missingness":
            odd = numpy_helper.to_array(initializer) + np.float32(123.0)
            initializer.CopyFrom(numpy_helper.from_array(odd, initializer.name))
    with pytest.raises(ExportError, match=r"does not pass its own checks, and was removed: .*golden records"):
        write(old_file, model=dataclasses.replace(exported_all.model, proto=other))


def test_a_full_disk_leaves_nothing_half_written(write, old_file):
    # A limit on the size of a file fails a write in its midst, as a full disk does.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(ExportError, match=r"model\.onnx: cannot be written: File too large"):
            write(old_file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_path_that_cannot_be_written_is_refused(write, old_file):
    with pytest.raises(ExportError, match=r"cannot be written: (Not a directory|File exists)"):
        write(old_file / "model.onnx")


def test_a_folder_in_the_place_of_the_file_is_refused_and_kept(write, tmp_path):
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(ExportError, match=r"cannot be written: Is a directory"):
        write(tmp_path / "model.onnx")
    assert names_in(tmp_path) == ["model.onnx"]


def test_a_folder_is_no_place_for_a_model(tmp_path):
    with pytest.raises(ExportError, match="expected a file, got a folder"):
        check_destination(tmp_path, [])


@pytest.mark.parametrize("name", ["taken/model.onnx", "missing/model.onnx"])
def test_a_model_needs_a_folder_that_is_there(tmp_path, name):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ExportError, match="no such folder: "):
        check_destination(tmp_path / name, [])


def test_a_model_replaces_none_of_the_files_read(tmp_path):
    records, link = tmp_path / "records.csv", tmp_path / "link.csv"
    records.write_text("a\n1\n")
    link.symlink_to(records)
    for output in (records, link):
        with pytest.raises(ExportError, match="the output is one of the files to read; choose another"):
            check_destination(output, [records])
    check_destination(tmp_path / "model.onnx", [records])
