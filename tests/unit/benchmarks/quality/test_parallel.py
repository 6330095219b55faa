"""Measurements in processes of their own."""

import math
import os
from pathlib import Path

import pytest

from benchmarks.quality.parallel import in_processes
from vaegis.service.errors import FileError

pytestmark = pytest.mark.training


@pytest.fixture(autouse=True)
def _thread_counts(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def test_each_task_comes_back_with_its_result_or_its_error():
    results = dict(in_processes(math.sqrt, [4.0, -1.0], processes=2))
    assert results[4.0] == 2.0
    assert isinstance(results[-1.0], ValueError)


def test_a_process_that_dies_is_the_error_of_its_task_alone():
    (result,) = in_processes(os._exit, [3], processes=1)
    assert isinstance(result[1], Exception)


def refuse(row: int) -> None:
    raise FileError(Path("orders.csv"), "expected a number", row=row)


def test_an_error_that_cannot_be_pickled_still_says_what_it_was():
    [(task, error)] = in_processes(refuse, [7], 1)
    assert task == 7
    assert "orders.csv, row 7" in str(error)
