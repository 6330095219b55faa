"""Labels of the most extreme calibration records: anomalies among them no longer raise the threshold."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vaegis.service.pvalues import p_values
from vaegis.training.config import SplitSettings
from vaegis.training.data.row_location import RowLocation
from vaegis.training.data.sampling import Sample
from vaegis.training.data.splits import split_at_random
from vaegis.training.errors import DataError
from vaegis.training.review import LABEL, Labels, most_extreme, read_labels, without_anomalies, write_review

pytestmark = pytest.mark.training

N = 400
FILE = Path("readings.csv")


@pytest.fixture
def sample(new_sample):
    return Sample(
        pa.table({"load": np.arange(N) / 4, "note": ['a "b", c'] * N}), np.arange(N), ((0, RowLocation(FILE, 1)),)
    )


@pytest.fixture
def splits():
    return split_at_random(
        N, SplitSettings(method="split", calibration_share=0.25), np.random.default_rng(0), most_calibrating=N
    )


def written(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fill(path: Path, labels: list[str]) -> None:
    rows = written(path)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {LABEL: label} for row, label in zip(rows, labels, strict=True))


def test_labelled_anomalies_do_not_calibrate_and_all_others_do(sample, splits, tmp_path):
    path = tmp_path / "model.review.csv"
    (calibrating,) = splits.calibration
    write_review(path, sample, calibrating[:4], np.array([9.0, 8.0, 7.0, 6.0]), Labels())
    rows = written(path)
    assert [int(row["vaegis_row"]) for row in rows] == (calibrating[:4] + 1).tolist()
    assert rows[0]["note"] == 'a "b", c'
    assert float(rows[0]["load"]) == calibrating[0] / 4
    fill(path, ["1", "", "normal", " Anomaly "])
    kept, count = without_anomalies(splits, sample, read_labels(path))
    assert count == 2
    assert kept.calibration[0].tolist() == [calibrating[1], calibrating[2], *calibrating[4:]]
    assert kept.fit is splits.fit


def test_a_further_review_keeps_the_labels(sample, splits, tmp_path):
    path = tmp_path / "model.review.csv"
    (calibrating,) = splits.calibration
    write_review(path, sample, calibrating[:3], np.array([9.0, 8.0, 7.0]), Labels())
    fill(path, ["1", "", "0"])
    write_review(path, sample, calibrating[3:4], np.array([6.0]), read_labels(path))
    rows = written(path)
    assert [row[LABEL] for row in rows] == ["1", "0", ""]
    assert [int(row["vaegis_row"]) for row in rows] == (calibrating[[0, 2, 3]] + 1).tolist()
    assert [row["note"] for row in rows] == ['a "b", c'] * 3


def test_labels_of_other_records_are_refused(sample, splits):
    fitted = RowLocation(FILE, int(splits.fit[0, 0]) + 1)
    with pytest.raises(DataError, match="expected calibration records among the 1 labelled anomalies, got none"):
        without_anomalies(splits, sample, Labels({fitted: True}))
    assert without_anomalies(splits, sample, Labels({fitted: False})) == (splits, 0)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a,b\n1,2\n", "expected a file of --review, got one without the column vaegis_file"),
        ("vaegis_label,vaegis_file,vaegis_row\nmaybe,a.csv,3\n", "row 1, columns vaegis_label and vaegis_row"),
        ("vaegis_label,vaegis_file,vaegis_row\n1,a.csv,\n", "row 1, columns vaegis_label and vaegis_row"),
    ],
)
def test_a_file_of_labels_that_says_something_else_is_refused(tmp_path, text, match):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=match):
        read_labels(tmp_path / "labels.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "absent.csv")


def test_the_most_extreme_are_those_of_the_highest_score_by_their_own_member(new_export):
    exported = new_export("numeric", members=3)
    scorer, calibrating = exported.model.scorer, exported.splits.calibration
    skipped = [int(calibrating[0][0])]
    rows, scores = most_extreme(scorer, exported.held_out, exported.splits, skipped, 5)
    own = [scorer.score(each).fold_scores[:, k] for k, each in enumerate(exported.held_out)]
    of_row = dict(zip(np.concatenate(calibrating).tolist(), np.concatenate(own).tolist(), strict=True))
    del of_row[skipped[0]]
    assert scores.tolist() == sorted(of_row.values(), reverse=True)[:5]
    assert [of_row[row] for row in rows.tolist()] == scores.tolist()


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_review_keeps_the_promise_and_regains_the_anomalies(share):
    """The anomalies score higher than most normal records; a person labels the 30 highest of 1,000."""
    rng, alpha, found = np.random.default_rng(1), 0.01, {"as it is": [], "reviewed": []}
    flagged: dict[str, list[float]] = {"as it is": [], "reviewed": []}
    fresh, odd = rng.normal(size=4000), rng.normal(4.0, 1.0, 4000)
    for _ in range(100):
        scores = np.where(np.arange(1000) < 1000 * share, rng.normal(4.0, 1.0, 1000), rng.normal(size=1000))
        is_reviewed_anomaly = (scores >= np.sort(scores)[-30]) & (np.arange(1000) < 1000 * share)
        for how, kept in (("as it is", scores), ("reviewed", scores[~is_reviewed_anomaly])):
            fold = [np.sort(kept)]
            flagged[how].append(float((p_values(fold, fresh[:, None]) <= alpha).mean()))
            found[how].append(float((p_values(fold, odd[:, None]) <= alpha).mean()))
    normal = 1000 * (1 - share)
    assert np.mean(flagged["reviewed"]) <= alpha * (1 + 1000 * share / (normal + 1)) * 1.1
    assert np.mean(found["reviewed"]) > np.mean(found["as it is"]) + 0.1
