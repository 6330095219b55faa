"""The command line as a whole: help, exit codes, and ends without a trace."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vaegis.service import cli
from vaegis.service.errors import AlphaError, ArtifactError, RecordError, ServiceError

HEAVY = ("onnxruntime", "pyarrow", "fastapi", "uvloop")


@pytest.mark.parametrize("command", ["serve", "score", "inspect", "verify", "generate", "key"])
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: vaegis {command} " in capsys.readouterr().out


def test_help_lists_every_exit_code(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = capsys.readouterr().out.split("exit codes:")[1]
    for code in (0, cli.EXIT_FAILURE, cli.EXIT_USAGE, cli.EXIT_ARTIFACT, cli.EXIT_INTERRUPTED):
        assert f"  {code}  " in listed


def test_the_parser_loads_nothing_heavy():
    program = (
        "import sys, vaegis.service.cli\n"
        "try: vaegis.service.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print(*(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stderr.split() == []


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("vaegis ")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["score"], ["score", "model.onnx", "data.csv", "-o", "out.xlsx"]])
def test_a_wrong_command_line_ends_with_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: vaegis" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ArtifactError("bad\n  model"), 3),
        (AlphaError("bad model", needed_records=1), 2),
        (RecordError(()), 1),
        (ServiceError("bad model"), 1),
        (OSError("bad model"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(error, code, capfd, monkeypatch):
    class Failing:
        @staticmethod
        def add_parser(subparsers):
            def fail(_args):
                raise error

            subparsers.add_parser("verify").set_defaults(func=fail)

    monkeypatch.setattr(cli, "_COMMANDS", (Failing,))
    assert cli.main(["verify"]) == code
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("vaegis: error:")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("command", ["serve", "score", "inspect", "verify", "generate"])
@pytest.mark.parametrize(
    ("content", "came"),
    [(b"", "got an empty file"), (b"a,b\n1,2\n", "got 8 bytes that are not an ONNX model")],
)
def test_every_command_names_a_file_that_is_no_model_and_what_is_in_it(capfd, tmp_path, command, content, came):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    more = {"serve": ["--port", "0"], "score": ["data.csv", "-o", "-"], "generate": ["--count", "1", "-o", "-"]}
    assert cli.main([command, str(path), *more.get(command, [])]) == 3
    printed = capfd.readouterr().err
    assert printed.startswith(f"vaegis: error: {path}: expected a complete ONNX file")
    assert came in printed
