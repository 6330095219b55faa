import os
import sys

from benchmarks.conditions import RESULTS, command_line, is_current


def test_a_model_is_current_when_it_is_no_older_than_the_code_that_trains(tmp_path):
    model = tmp_path / "model.onnx"
    assert not is_current(model)
    model.write_bytes(b"")
    assert is_current(model)
    os.utime(model, (0, 0))
    assert not is_current(model)


def test_a_result_names_no_path_of_the_machine(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["command.py", "--output", "/tmp/results", "--turns", "40"])
    assert command_line("python command.py") == "python command.py --output FOLDER --turns 40"
    assert [path.name for path in RESULTS.iterdir() if "/tmp/" in path.read_text()] == []
