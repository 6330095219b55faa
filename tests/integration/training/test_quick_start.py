"""The README's first screen: its commands train a model, and the model gives the answer shown."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import vaegis

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "demo" / "orders" / "train.csv"
FIRST_SCREEN = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]

pytestmark = pytest.mark.training


def test_quick_start_gives_the_answer_shown(train_by_default: Callable[[Path, Path], None], tmp_path: Path):
    shown = json.loads(re.search(r"```json\n(.*?)```", FIRST_SCREEN, flags=re.DOTALL)[1])
    record = json.loads(re.search(r"curl --json '(.*?)'", FIRST_SCREEN)[1])
    assert f"vaegis-train {SAMPLE.relative_to(ROOT)} -o orders.onnx" in FIRST_SCREEN
    train_by_default(SAMPLE, tmp_path / "orders.onnx")
    model = vaegis.load(tmp_path / "orders.onnx")
    assert (model.name, model.alpha) == (shown["model"], shown["alpha"])
    (expected,), (result,) = shown["results"], model.score([record]).to_list()
    assert (result["is_anomaly"], result["reasons"]) == (expected["is_anomaly"], expected["reasons"])
    assert result["p_value"] == pytest.approx(expected["p_value"], rel=0.01)
    # Training on another processor ends at slightly other weights.
    assert result["score"] == pytest.approx(expected["score"], rel=0.2)
    codes = [(violation["column"], violation["code"]) for violation in expected["violations"]]
    assert [(violation["column"], violation["code"]) for violation in result["violations"]] == codes
    (most,) = expected["contributions"]
    first = result["contributions"][0]
    assert (first["column"], first["observed"], first["reason"]) == (most["column"], most["observed"], most["reason"])
    assert first["expected"] == pytest.approx(most["expected"], rel=0.3)


def test_sample_of_orders_is_what_the_script_makes():
    spec = importlib.util.spec_from_file_location("make_golden", ROOT / "tests" / "golden" / "make_golden.py")
    make_golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_golden)
    made = make_golden.orders(4_000, seed=0).to_pylist()
    with SAMPLE.open(newline="", encoding="utf-8") as lines:
        kept = list(csv.DictReader(lines))
    assert [row["order_id"] for row in kept] == [row["order_id"] for row in made]
    assert [float(row["amount"]) if row["amount"] else None for row in kept] == [row["amount"] for row in made]
    assert [row["placed_at"] for row in kept] == [f"{row['placed_at']:%Y-%m-%dT%H:%M:%SZ}" for row in made]
