from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from vaegis.training import cli

pytestmark = pytest.mark.training


@pytest.mark.parametrize("arguments", [["--help"], ["evaluate", "--help"]])
def test_help_is_shown(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0
    assert "usage: vaegis-train" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["data.csv", "--no-such-flag"], ["data.csv", "--alpha", "much"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: vaegis-train" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "few"])
def test_a_count_of_records_to_review_that_is_none_is_named(count, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["data.csv", "--review", count])
    assert ended.value.code == 2
    assert f"--review: expected a whole number of at least 1, got '{count}'" in capsys.readouterr().err


def test_help_loads_no_torch():
    # Loading it takes seconds.
    probe = "import sys; from vaegis.training import cli; code = 0\n"
    probe += "try: cli.main(['--help'])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "False"


def test_the_collector_is_left_as_it_was_found(tmp_path):
    before = gc.get_threshold()
    assert cli.main([str(tmp_path / "missing.csv")]) == 1
    assert gc.get_threshold() == before


def test_a_name_in_an_error_is_escaped_on_the_terminal(tmp_path, capsys):
    data = tmp_path / "records.csv"
    data.write_text('"a\x1b[2J\nb"\n' + "1\n" * 30 + "much\n")
    assert cli.main([str(data), "-o", str(tmp_path / "model.onnx")]) == 1
    printed = capsys.readouterr()
    assert f"{data}, row 31, column a\\x1b[2J\\nb: expected a number" in printed.err
    assert "\x1b" not in printed.out + printed.err
