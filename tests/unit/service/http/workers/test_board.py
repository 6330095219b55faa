"""What processes share: files without a path, tallies, and who accepts the next connection."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vaegis.service.http.counting.families import Families
from vaegis.service.http.workers.board import Board, content_of, memory_file


@pytest.mark.parametrize("size", [0, 1, 5 * 2**20])
def test_a_memory_file_holds_its_content_for_every_reader(size):
    content = os.urandom(size)
    file = memory_file("test", content)
    assert content_of(file) == content_of(file) == content
    os.close(file)


def test_a_process_counts_where_another_reads():
    board = Board(2)
    program = (
        "import sys\n"
        "from vaegis.service.http.counting.families import Families\n"
        "from vaegis.service.http.workers.board import Board\n"
        "board = Board(2, int(sys.argv[1]))\n"
        "Families(board.workers[1]).counter('x', '').inc(3)\n"
        "board.workers[1].pid = 7\n"
        "assert board.balance.is_crowded(1, 5)\n"
    )
    board.balance.is_crowded(0, 4)
    subprocess.run([sys.executable, "-c", program, str(board.file)], pass_fds=[board.file], check=True)
    families = Families(board.workers[0], [board.workers[1], board.parent])
    families.counter("x", "A number.").inc(4)
    (metric,) = families.collect()
    assert [sample.value for sample in metric.samples] == [7.0]
    assert board.workers[1].pid == 7
    assert not board.balance.is_crowded(0, 5)
    assert board.balance.is_crowded(0, 6)
    os.close(board.file)


def test_a_worker_is_crowded_only_beside_one_that_accepts_and_has_fewer():
    board = Board(3)
    assert not board.balance.is_crowded(0, 10)  # nobody else accepts yet
    assert not board.balance.is_crowded(1, 0)
    assert board.balance.is_crowded(0, 10)
    board.forget(1)
    assert not board.balance.is_crowded(0, 10)
    os.close(board.file)


def test_what_a_worker_counted_stays_when_it_has_ended():
    board = Board(1)
    families = Families(board.workers[0])
    families.counter("x", "A number.").inc()
    families.gauge("y", "A number.").set(2)
    board.workers[0].pid = 1
    board.forget(0)
    assert board.workers[0].pid == 0
    assert [[sample.value for sample in metric.samples] for metric in families.collect()] == [[1.0], [0.0]]
    os.close(board.file)


def test_the_names_of_processes_are_numbers_and_the_parent():
    board = Board(2)
    assert list(board.by_name()) == ["0", "1", "parent"]
    os.close(board.file)
