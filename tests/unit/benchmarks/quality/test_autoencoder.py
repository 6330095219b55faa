"""The plain autoencoders, and the command that measures them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from benchmarks.quality import autoencoder
from benchmarks.quality.figures import Ranking
from benchmarks.quality.measure import Case
from benchmarks.quality.plain_autoencoder import VARIANTS, Autoencoder, _fit, autoencoder_scores
from vaegis.training.config import TrainConfig

pytestmark = pytest.mark.training


def plane(records: int, seed: int) -> np.ndarray:
    """Records of four columns that depend on two, a fifth that is constant."""
    free = np.random.default_rng(seed).normal(size=(records, 2))
    return np.column_stack([free, free.sum(1), free[:, 0] - free[:, 1], np.full(records, 7.0)])


@pytest.mark.parametrize("variant", VARIANTS, ids=[variant.name for variant in VARIANTS])
def test_what_breaks_the_dependence_of_columns_scores_highest_and_one_seed_gives_one_answer(variant):
    test = plane(50, seed=1)
    test[-1, 2] += 4.0
    first, second = (autoencoder_scores(plane(120, seed=0), test, variant, TrainConfig(), seed=3) for _ in range(2))
    assert first.shape == (50,)
    assert first.argmax() == 49
    assert (first == second).all()


@pytest.mark.parametrize("records", [40, 1000])
def test_a_record_scores_the_same_alone(records):
    training, test = plane(records, seed=0), plane(1001, seed=1)
    config = TrainConfig.model_validate({"fit": {"steps": 5}})
    together = autoencoder_scores(training, test, VARIANTS[0], config, seed=0)
    alone = autoencoder_scores(training, test[-1:], VARIANTS[0], config, seed=0)
    assert alone == pytest.approx(together[-1:], rel=1e-4)


def test_no_member_is_fitted_otherwise_for_what_another_is_fitted_to():
    records = torch.randn((40, 3), generator=torch.Generator().manual_seed(0))
    ours, others = torch.arange(20), torch.arange(20, 40)
    gross = torch.cat([records[:20], 1000.0 * records[20:]])  # a gradient far above the bound
    settings = TrainConfig.model_validate({"fit": {"steps": 5}}).fit
    weights = []
    for known in (records, gross):
        torch.manual_seed(0)
        model = Autoencoder(2, gross, code=2, hidden=4)
        members = torch.stack([ours, others])
        _fit(model, known, members, VARIANTS[0], settings, torch.Generator().manual_seed(0))
        weights.append([parameter[0].detach() for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def row(name: str, seed: int, auroc: float) -> autoencoder.AutoencoderRow:
    figures = {variant.name: Ranking(auroc=auroc, ap=auroc / 2, recall=0.0) for variant in VARIANTS}
    return autoencoder.AutoencoderRow(commit="abc", case=Case(name, seed), variants=figures)


def test_a_mean_over_sets_counts_each_set_once():
    rows = [row("7_pumps", 0, 0.5), row("7_pumps", 1, 0.7), row("8_valves", 0, 1.0)]
    assert autoencoder.means(rows)["plain"] == pytest.approx({"auroc": 0.8, "ap": 0.4, "recall": 0.0})


@pytest.fixture
def folder(tmp_path):
    """A folder with one set."""
    records = np.vstack([plane(100, seed=0), plane(20, seed=1) + np.array([0.0, 0.0, 5.0, 0.0, 0.0])])
    (tmp_path / "inventory.csv").write_text("name,n,d,n_anom\n7_pumps,120,5,20\n")
    np.savez(tmp_path / "7_pumps.npz", X=records, y=np.arange(120) >= 100)
    (tmp_path / "train.toml").write_text("[fit]\nsteps = 100\n")
    return tmp_path


def test_the_command_writes_figures_of_each_autoencoder(folder):
    options = {"--data": folder, "--config": folder / "train.toml", "--output": folder / "results", "--seeds": "0,1"}
    assert autoencoder.main([str(part) for option in options.items() for part in option]) == 0
    document = json.loads((folder / "results" / "autoencoder.json").read_text())
    assert [each["case"]["seed"] for each in document["rows"]] == [0, 1]
    assert set(document["means"][autoencoder.SETS]) == {variant.name for variant in VARIANTS}
    assert document["means"][autoencoder.SETS]["plain"]["auroc"] > 0.9
    page = (folder / "results" / "autoencoder.md").read_text()
    assert "| 7_pumps |" in page
    assert "| code of 4 |" in page


def test_tables_with_a_split_of_their_own_are_groups_by_half(folder):
    tables = folder / "tables"
    tables.mkdir()
    with np.load(folder / "7_pumps.npz") as arrays:
        np.savez(
            tables / "BirdTracking.npz", train=arrays["X"][:80], test=arrays["X"][80:], test_labels=arrays["y"][80:]
        )
    options = {"--data": folder, "--config": folder / "train.toml", "--output": folder / "results"}
    options |= {"--oddbench": tables}
    assert autoencoder.main([str(part) for option in options.items() for part in option]) == 0
    means = json.loads((folder / "results" / "autoencoder.json").read_text())["means"]
    assert list(means) == [autoencoder.SETS, "confirmed on"]
    assert means["confirmed on"]["plain"]["auroc"] > 0.9


def test_without_the_sets_one_line_says_so(tmp_path, capsys):
    assert autoencoder.main(["--data", str(tmp_path)]) == 1
    assert "expected the inventory of the benchmark sets, got no file" in capsys.readouterr().err
