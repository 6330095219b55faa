"""What `vaegis serve` loads is small: no training library, and no pyarrow."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORBIDDEN = ("onnx", "onnxscript", "pandas", "pyarrow", "scipy", "sklearn", "torch", "training")
SERVED = ("vaegis.service.http.app", "vaegis.service.commands.serve", "vaegis.service.cli")

PROBE = """
import importlib, sys
modules, forbidden = (argument.split(",") for argument in sys.argv[1:3])
for module in modules:
    importlib.import_module(module)
print(*sorted(set(forbidden) & set(sys.modules)))
"""


def loaded_by(*modules: str) -> list[str]:
    """Return which forbidden modules a fresh interpreter holds after these imports."""
    command = [sys.executable, "-c", PROBE, ",".join(modules), ",".join(FORBIDDEN)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.split()


@pytest.mark.parametrize("module", SERVED)
def test_the_server_loads_no_training_library(module: str):
    assert loaded_by(module) == []


def test_the_check_sees_a_forbidden_import_behind_another(tmp_path, monkeypatch):
    (tmp_path / "sklearn.py").touch()
    (tmp_path / "middle.py").write_text("import sklearn\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert loaded_by("vaegis.service.contract", "middle") == ["sklearn"]
