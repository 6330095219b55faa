"""The line that counts records."""

from __future__ import annotations

import io

from vaegis.service.commands.progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_written_where_there_is_no_terminal():
    stream = io.StringIO()
    line = ProgressLine(stream)
    line._next = 0.0
    line.show(1000)
    line.erase()
    assert stream.getvalue() == ""


def test_a_terminal_sees_the_number_of_records():
    stream = Terminal()
    line = ProgressLine(stream)
    line._next = 0.0
    line.show(1000, ", 3 anomalies")
    assert stream.getvalue().startswith("\r\x1b[K1,000 records, ")
    assert stream.getvalue().endswith(" records/s, 3 anomalies")


def test_the_line_is_not_rewritten_at_once():
    stream = Terminal()
    line = ProgressLine(stream)
    line._next = float("inf")
    line.show(1000)
    assert stream.getvalue() == ""


def test_an_erased_line_is_empty():
    stream = Terminal()
    ProgressLine(stream).erase()
    assert stream.getvalue() == "\r\x1b[K"
