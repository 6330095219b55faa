"""The commands of docs/formats.md, run against a service as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
COMMAND = (sys.executable, "-c", "import sys; from vaegis.service.cli import main; sys.exit(main())", "serve")


@pytest.fixture
def url(golden_model):
    process = subprocess.Popen([*COMMAND, str(golden_model), "--port", "0"], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().rsplit(maxsplit=1)[1]
    process.kill()
    process.communicate()


def steps():
    """Yield each command with the output that is shown for it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = step.splitlines()
            end = next(at for at, line in enumerate(lines) if not line.endswith("\\")) + 1
            yield "\n".join(lines[:end]), lines[end:]


def test_every_command_gives_what_is_shown(url, tmp_path):
    count = 0
    for command, shown in steps():
        done = subprocess.run(
            ["bash", "-c", command.replace("http://127.0.0.1:8080", url)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        found = done.stdout.splitlines()
        assert len(found) == len(shown), (command, done.stdout)
        for line, beginning in zip(found, shown, strict=True):
            assert line.startswith(beginning.removesuffix("...")), (command, line)
            assert beginning.endswith("...") or line == beginning
        count += bool(shown)
    assert count >= 6
