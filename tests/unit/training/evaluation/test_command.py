"""`vaegis-train evaluate` on the golden model: the report, the document and the warnings say what was measured."""

import io
import json
from argparse import ArgumentParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from vaegis.service.artifact import load_artifact
from vaegis.service.errors import AlphaError, ArtifactError
from vaegis.service.generation import Generator
from vaegis.training.errors import EvaluationError
from vaegis.training.evaluation.command import add_arguments, run


@pytest.fixture(scope="module")
def ordinary(golden_model):
    """Records drawn from the model itself."""
    return Generator(load_artifact(golden_model).contract).draw(300, 0)


@pytest.fixture(scope="module")
def labelled(ordinary, tmp_path_factory):
    """The first 200, with twenty more that have a gross amount."""
    gross = [{**record, "amount": 1e7} for record in ordinary[200:220]]
    rows = [{**record, "fault": False} for record in ordinary[:200]] + [{**record, "fault": True} for record in gross]
    return written(tmp_path_factory.mktemp("labelled") / "labelled.parquet", rows)


def written(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def evaluated(*arguments):
    """Run the command as the command line would, and return what it printed."""
    parser = ArgumentParser()
    add_arguments(parser)
    output = io.StringIO()
    status = run(parser.parse_args([str(argument) for argument in arguments]), Console(file=output, width=120))
    assert status == 0
    return output.getvalue()


def test_gross_amounts_are_found_and_the_document_holds_every_figure(golden_model, labelled):
    document = json.loads(evaluated(golden_model, labelled, "--label-column", "fault", "--json"))
    assert document["model"] == "orders"
    assert document["records_read"] == 220
    assert document["recall"]["value"] == 1.0
    assert (document["normal_records"], document["anomalies"], document["baseline_records"]) == (100, 20, 100)
    assert document["rankings"]["vaegis"]["auroc"]["value"] > 0.99
    assert list(document["rankings"]) == ["vaegis", "IsolationForest", "kNN, mean of 5"]


def test_the_report_shows_the_figures_beside_the_promise_and_the_baselines(golden_model, labelled):
    report = evaluated(golden_model, labelled, "--label-column", "fault", "--alpha", "0.02")
    assert "orders on labelled.parquet: 100 normal records, 20 anomalies" in report
    assert "flagged at alpha = 0.02" in report
    assert "false alarms promised: at most 2.00%" in report
    for row in ("recall", "precision", "false alarms", "vaegis", "IsolationForest", "kNN, mean of 5"):
        assert row in report
    assert "baselines fitted on 100 of the labelled normal records, left out of every other figure" in report


def test_baselines_can_be_fitted_on_the_training_data(golden_model, labelled, ordinary, tmp_path):
    training_data = written(tmp_path / "train.parquet", ordinary[200:])
    report = evaluated(golden_model, labelled, "--label-column", "fault", "--train-data", training_data)
    assert "200 normal records, 20 anomalies" in report
    assert "baselines fitted on 100 records of train.parquet" in report


def test_infinite_values_in_the_training_data_are_nulls_as_in_training(golden_model, labelled, ordinary, tmp_path):
    training_data = written(tmp_path / "train.parquet", [{**ordinary[200], "amount": float("inf")}, *ordinary[201:]])
    report = evaluated(golden_model, labelled, "--label-column", "fault", "--train-data", training_data)
    assert "baselines fitted on 100 records of train.parquet" in report


def test_the_name_of_a_file_is_shown_as_it_is_but_for_control_characters(golden_model, labelled, tmp_path):
    named = tmp_path / "odd[red]\x1b[2J.parquet"
    named.write_bytes(labelled.read_bytes())
    report = evaluated(golden_model, named, "--label-column", "fault")
    assert "orders on odd[red]\\x1b[2J.parquet: 100 normal records" in report


def test_a_sample_is_said_to_be_one(golden_model, labelled):
    report = evaluated(golden_model, labelled, "--label-column", "fault", "--max-records", "150")
    assert "150 of 220, drawn at random" in report


def test_a_broken_promise_and_a_better_baseline_are_warned_of(golden_model, ordinary, tmp_path):
    drifted = [{**record, "amount": 1e5} for record in ordinary[:100]]  # all normal records far from those of training
    rows = [{**record, "fault": False} for record in drifted] + [
        {**record, "fault": True} for record in ordinary[100:120]
    ]
    path = written(tmp_path / "drifted.parquet", rows)
    report = evaluated(golden_model, path, "--label-column", "fault")
    assert "warning: 100.00% of the normal records were flagged, more than chance explains" in report
    assert "warning: kNN, mean of 5 is better in AUROC by" in report


def test_a_sample_too_small_for_two_labels_is_refused(golden_model, labelled):
    with pytest.raises(EvaluationError, match="--max-records: expected at least 2, got 1"):
        evaluated(golden_model, labelled, "--label-column", "fault", "--max-records", "1")


def test_an_alpha_below_what_the_calibration_allows_is_refused(golden_model, labelled):
    with pytest.raises(AlphaError, match="calibration records"):
        evaluated(golden_model, labelled, "--label-column", "fault", "--alpha", "1e-6")


def test_a_file_that_is_no_model_is_refused(labelled):
    with pytest.raises(ArtifactError, match="expected"):
        evaluated(labelled, labelled, "--label-column", "fault")
