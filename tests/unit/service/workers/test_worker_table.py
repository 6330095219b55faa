"""What processes share: their ids, and who accepts the next connection."""

from __future__ import annotations

import os
import subprocess
import sys

from vaegis.service.workers.worker_table import WorkerTable


def test_a_worker_sees_what_its_parent_notes_and_the_other_way_round():
    table = WorkerTable(2)
    program = (
        "import sys\n"
        "from vaegis.service.workers.worker_table import WorkerTable\n"
        "table = WorkerTable(2, int(sys.argv[1]))\n"
        "assert table.is_crowded(1, 5)\n"
        "print(table.pids())\n"
    )
    table.is_crowded(0, 4)
    table.note_start(1, 7)
    command = [sys.executable, "-c", program, str(table.file)]
    done = subprocess.run(command, pass_fds=[table.file], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == repr({"1": 7, "parent": os.getpid()})
    assert not table.is_crowded(0, 5)
    assert table.is_crowded(0, 6)
    os.close(table.file)


def test_a_worker_is_crowded_only_beside_one_that_accepts_and_has_fewer():
    table = WorkerTable(3)
    assert not table.is_crowded(0, 10)  # nobody else accepts yet
    assert not table.is_crowded(1, 0)
    assert table.is_crowded(0, 10)
    table.note_end(1)
    assert not table.is_crowded(0, 10)
    os.close(table.file)


def test_a_worker_that_has_ended_is_no_process_of_the_service():
    table = WorkerTable(2)
    table.note_start(0, 5)
    table.note_start(1, 6)
    table.note_end(0)
    assert table.pids() == {"1": 6, "parent": os.getpid()}
    os.close(table.file)
