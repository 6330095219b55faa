"""Lines are written in order by a thread; a reader who takes none holds nobody up."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from threading import Event, Thread

from vaegis.service.http.observability.logs import LineWriter


class Stuck(io.StringIO):
    """A stream whose reader takes nothing until told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_waiting, self.release = Event(), Event()

    def write(self, text: str) -> int:
        self.is_waiting.set()
        self.release.wait()
        return super().write(text)


class Closed(io.StringIO):
    """A stream that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(text)


def test_lines_come_out_in_order_and_whole_whichever_thread_wrote_them():
    stream = io.StringIO()
    writer = LineWriter(stream)
    threads = [
        Thread(target=lambda name=name: [writer.write(f"{name} {i}\n") for i in range(500)]) for name in ("a", "b")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    lines = stream.getvalue().splitlines()
    for name in ("a", "b"):
        assert [line for line in lines if line.startswith(name)] == [f"{name} {i}" for i in range(500)]


def test_a_slow_reader_holds_nobody_up_and_what_is_too_much_is_dropped_and_counted():
    stream = Stuck()
    writer = LineWriter(stream, max_lines=10)
    dropped = []
    writer.on_dropped.append(dropped.append)
    writer.write("first\n")
    assert stream.is_waiting.wait(60)
    for number in range(100):
        writer.write(f"{number}\n")
    assert sum(dropped) == 90
    stream.release.set()
    writer.close()
    assert stream.getvalue().splitlines() == ["first", *map(str, range(10))]


def test_lines_for_a_reader_who_is_gone_are_counted_as_dropped():
    writer = LineWriter(Closed())
    dropped = []
    writer.on_dropped.append(dropped.append)
    writer.write("one\n")
    writer.write("two\n")
    writer.close()
    assert sum(dropped) == 2


def test_lines_after_the_end_are_written_too():
    stream = io.StringIO()
    writer = LineWriter(stream)
    writer.close()
    for line in ("one\n", "two\n"):
        writer.write(line)
        writer.close()
    assert stream.getvalue() == "one\ntwo\n"


def test_lines_of_several_processes_do_not_mix_in_a_pipe():
    program = (
        "import sys\n"
        "from vaegis.service.http.observability.logs import LineWriter\n"
        "writer = LineWriter(sys.stderr)\n"
        "for i in range(3000): writer.write(f'{sys.argv[1]}{i:05}' + sys.argv[1] * 200 + '\\n')\n"
        "writer.close()\n"
    )
    ours, theirs = os.pipe()
    processes = [subprocess.Popen([sys.executable, "-c", program, name], stderr=theirs) for name in ("a", "b")]
    os.close(theirs)
    with os.fdopen(ours) as reader:
        lines = reader.read().splitlines()
    assert [process.wait() for process in processes] == [0, 0]
    assert len(lines) == 6000
    assert {(len(line), len(set(line[6:]))) for line in lines} == {(206, 1)}


def test_dropped_lines_are_counted(new_app):
    writer = LineWriter(Closed())
    app = new_app(writer=writer)
    writer.write("lost\n")
    writer.close()
    assert app.metrics.registry.get_sample_value("vaegis_log_lines_dropped_total") == 1
