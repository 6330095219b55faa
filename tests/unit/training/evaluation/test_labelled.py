"""Labelled records come from files by the service's rules, each refusal with its place."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vaegis.service.contract import QUANTILE_FRACTIONS, CategoricalColumn, IgnoredColumn, NumericColumn, Schema
from vaegis.service.errors import FileError
from vaegis.training.errors import EvaluationError
from vaegis.training.evaluation.labelled import read_labelled

SCHEMA = Schema(
    columns=(
        NumericColumn(
            name="amount",
            missing_share=0.0,
            minimum=0.0,
            maximum=1.0,
            quantiles=(0.5,) * len(QUANTILE_FRACTIONS),
            step=0.0,
            noise_scale=1.0,
            degrees_of_freedom=4.0,
        ),
        CategoricalColumn(name="country", missing_share=0.0, categories=("at", "ch"), shares=(0.5, 0.5)),
    )
)


def read(path, label_column="fault", max_records=1000, seed=0):
    generator = np.random.default_rng(seed)
    return read_labelled(path, SCHEMA, label_column=label_column, max_records=max_records, generator=generator)


def written(folder, labels, name="labelled.csv"):
    path = folder / name
    rows = "".join(f"{at}.5,at,{label}\n" for at, label in enumerate(labels))
    path.write_text(f"amount,country,fault\n{rows}")
    return path


@pytest.mark.parametrize("labels", [["1", "0", "1"], ["true", "false", "true"], ["True", "FALSE", "1.0"]])
def test_labels_in_text_are_zero_and_one_or_true_and_false(tmp_path, labels):
    found = read(written(tmp_path, labels))
    assert found.labels.tolist() == [True, False, True]
    assert found.columns.numbers[:, 0].tolist() == [0.5, 1.5, 2.5]
    assert found.columns.strings[:, 0].tolist() == ["at", "at", "at"]
    assert found.read == 3


@pytest.mark.parametrize("kind", [pa.bool_(), pa.int8(), pa.float64(), pa.string()])
def test_labels_of_any_parquet_type_are_read(tmp_path, kind):
    labels = pa.array([1, 0]).cast(kind) if kind != pa.string() else pa.array(["1", "0"])
    pq.write_table(pa.table({"amount": [1.0, 2.0], "fault": labels}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").labels.tolist() == [True, False]


@pytest.mark.parametrize("label", ["2", "maybe", "-1", "0.5"])
def test_any_other_label_is_refused_with_its_row(tmp_path, label):
    with pytest.raises(
        FileError, match=r"labelled\.csv, row 3, column fault: expected .* got (other text|another number)"
    ):
        read(written(tmp_path, ["1", "0", label]))


def test_a_missing_label_is_refused_with_its_row(tmp_path):
    with pytest.raises(FileError, match=r"row 2, column fault: expected a label, got null"):
        read(written(tmp_path, ["1", "", "0"]))


def test_a_mistyped_label_column_is_answered_with_the_nearest_name(tmp_path):
    with pytest.raises(FileError, match="expected the label column fualt, got none of this name; the nearest is fault"):
        read(written(tmp_path, ["1", "0"]), label_column="fualt")


def test_a_label_column_that_the_model_scores_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="amount: the label column is one that the model scores"):
        read(written(tmp_path, ["1", "0"]), label_column="amount")


def test_records_without_a_label_column_are_all_normal(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("amount,country\n1.5,at\n2.5,ch\n")
    assert read(path, label_column=None).labels.tolist() == [False, False]


def test_ignored_columns_may_hold_anything(tmp_path):
    path = tmp_path / "labelled.ndjson"
    records = [{"amount": 1.5, "country": "at", "note": note, "fault": 0} for note in ({"a": 1}, "x", [1], None, 3)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    schema = SCHEMA.model_copy(update={"ignored": tuple(IgnoredColumn(name=n, reason="") for n in ("note", "fault"))})
    generator = np.random.default_rng(0)
    found = read_labelled(path, schema, label_column="fault", max_records=9, generator=generator)
    assert found.columns.numbers[:, 0].tolist() == [1.5] * 5


def test_a_file_without_records_is_refused(tmp_path):
    with pytest.raises(FileError, match="expected records, got none"):
        read(written(tmp_path, []))


def test_records_of_many_files_are_sampled_with_their_labels(tmp_path):
    for part in range(5):
        written(tmp_path, [at % 2 for at in range(100)], name=f"{part}.csv")
    found = read(tmp_path, max_records=60)
    assert (found.read, len(found.columns), found.labels.size) == (500, 60, 60)
    # The amounts are 0.5, 1.5 .., and every second record is an anomaly.
    np.testing.assert_array_equal(found.labels, found.columns.numbers[:, 0] % 2 == 1.5)


def test_every_record_has_the_same_chance_of_being_sampled(tmp_path):
    path = written(tmp_path, [0] * 40)
    drawn = np.concatenate([read(path, max_records=10, seed=seed).columns.numbers[:, 0] for seed in range(400)])
    counts = np.unique(drawn, return_counts=True)[1]
    assert counts.size == 40
    # Each is drawn 100 times in the mean, with a standard deviation of 8.7.
    assert np.abs(counts - 100).max() < 40
