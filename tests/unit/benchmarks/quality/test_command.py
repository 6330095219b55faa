"""The commands where there is nothing to measure with, or nothing left to measure."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.quality import command, contamination
from benchmarks.quality.measure import Case
from benchmarks.quality.rows import RowFile
from benchmarks.quality.run import exit_code
from benchmarks.quality.sources import row_key
from vaegis.training.config import TrainConfig

pytestmark = pytest.mark.training


@pytest.fixture
def folder(tmp_path, new_row):
    """A folder with one set, and the rows of both commands measured already."""
    (tmp_path / "inventory.csv").write_text("name,n,d,n_anom\n7_pumps,121,1,20\n")
    (tmp_path / "baselines.csv").write_text("dataset,algorithm,auroc,ap\n7_pumps,HBOS,0.75,0.5\n")
    np.savez(tmp_path / "7_pumps.npz", X=np.zeros((121, 1)), y=np.arange(121) < 20)
    rows = RowFile(tmp_path / "rows.jsonl", row_key(TrainConfig(), tmp_path))
    for left, untested, vaegis in ((0, 0, 0.9), (0, 2, 0.9), (1, 2, 0.89), (2, 2, 0.88)):
        row = new_row(Case("7_pumps", 0, left, untested), vaegis=vaegis, kNN=0.8, IsolationForest=0.7)
        rows.append(row.model_copy(update={"key": rows.key}))
    return tmp_path


def arguments(folder) -> list[str]:
    options = {"--data": folder, "--rows": folder / "rows.jsonl", "--output": folder / "results", "--seeds": 0}
    return [str(part) for option in options.items() for part in option]


@pytest.mark.parametrize("main", [command.main, contamination.main])
def test_without_the_sets_one_line_says_so(tmp_path, capsys, main):
    assert main(arguments(tmp_path)) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "expected the inventory of the benchmark sets, got no file" in said


def test_rows_measured_before_make_the_results(folder, capsys):
    assert command.main(arguments(folder)) == 0
    assert "1 rows were measured before" in capsys.readouterr().out
    document = json.loads((folder / "results" / "quality.json").read_text())
    assert document["by_set"][0]["detectors"]["vaegis"]["auroc"] == 0.9
    assert document["measured_on"]["commit"] == ["abc"]
    assert [row["case"]["seed"] for row in document["rows"]] == [0]
    assert {each["name"]: each["won"]["auroc"] for each in document["among_published"]}["HBOS"] == 1
    assert "| 7_pumps | 100 | .9000 | .8000 | .7000 |" in (folder / "results" / "quality.md").read_text()


def test_a_fall_at_its_limit_is_reported_by_the_exit_code(folder):
    assert contamination.main(arguments(folder)) == 1  # 0.01 at the level that is to stay below it
    page = (folder / "results" / "contamination.md").read_text()
    assert "| 7_pumps | 0.9000 (0) | 0.8900 (1) | 0.8900 (1) | 0.8800 (2) |" in page


def test_part_of_the_sets_does_not_replace_the_results_of_all(folder):
    assert command.main([*arguments(folder), "--sets", "small"]) == 0
    assert [path.name for path in sorted((folder / "results").iterdir())] == ["quality-small.json", "quality-small.md"]


def test_an_interrupt_says_that_the_rows_are_kept(capsys):
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert exit_code(interrupted) == 130
    assert "the rows measured so far are kept" in capsys.readouterr().err
