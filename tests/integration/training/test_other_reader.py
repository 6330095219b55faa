"""A model with columns of text, of a list that grows and of a counter, read by the second reader of the format."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vaegis.service.model import load
from vaegis.training import cli

pytestmark = pytest.mark.training

READER = Path(__file__).parents[2] / "reader.py"
N = 400


def test_the_second_reader_gives_the_verdicts_of_the_service(tmp_path):
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("abcdefgh"), 7)) for _ in range(N)]
    table = pa.table(
        {
            "order_no": 1000 + np.cumsum(rng.integers(1, 9, N)),
            "mail": [f"{name}{rng.integers(99)}@mail.example" for name in names],
            "agent": [f"agent {names[int(rng.zipf(1.6)) % 60]}" for _ in range(N)],
            "amount": rng.normal(50.0, 9.0, N).round(2),
        }
    )
    data, model, settings = (tmp_path / name for name in ("orders.parquet", "model.onnx", "train.toml"))
    pq.write_table(table, data)
    settings.write_text("[model]\nhidden = 8\n[fit]\nsteps = 30\n[splits]\nmethod = 'split'\n")
    arguments = (data, "-o", model, "-c", settings, "--alpha", 0.05)
    assert cli.main([str(argument) for argument in arguments]) == 0
    opened = load(model)
    schema = opened.artifact.contract.columns
    assert {column.name: column.kind for column in schema.columns} == {
        "mail": "text",
        "agent": "categorical",
        "amount": "numeric",
    }
    assert schema.columns[1].form is not None
    assert [column.name for column in schema.watched] == ["order_no"]

    usual = table.slice(0, 20).to_pylist()
    odd = {"mail": "abcdefg99-mail.example", "agent": usual[0]["agent"].upper(), "amount": -1e6, "order_no": None}
    records = [*usual, *(usual[0] | {name: value} for name, value in odd.items())]
    (tmp_path / "records.json").write_text(json.dumps(records))
    command = [sys.executable, READER, model, tmp_path / "records.json"]
    answers = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    verdicts = opened.score(records)
    assert [each["p_value"] for each in answers] == verdicts.p_value.tolist()
    assert [each["score"] for each in answers] == pytest.approx(verdicts.score.tolist(), abs=1e-6)
    assert [[each.code.value for each in of_record] for of_record in verdicts.violations] == [
        *([[]] * 20),
        ["unusual_form"],
        ["misspelled_category"],
        ["below_range"],
        ["unexpected_missing"],
    ]
    subprocess.run([sys.executable, READER, model], check=True, capture_output=True)
