"""The built wheel holds both packages and nothing else, and asks for torch only where training is asked for."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "onnx", "onnxscript", "pyarrow", "scikit-learn", "rich", "matplotlib")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("vaegis-*-py3-none-any.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: zipfile.ZipFile):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"service", "training"}


@pytest.mark.parametrize("package", ["service", "training"])
def test_every_source_file_is_in_the_wheel(wheel: zipfile.ZipFile, package: str):
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
    assert f"{package}/__init__.py" in sources
    assert sources | {f"{package}/py.typed"} == {name for name in wheel.namelist() if name.startswith(f"{package}/")}


def test_the_licence_is_in_the_wheel(wheel: zipfile.ZipFile, metadata: email.message.Message):
    assert metadata["License-Expression"] == "Apache-2.0"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_both_commands_are_declared(wheel: zipfile.ZipFile):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert wheel.read(name).decode().split() == [
        *("[console_scripts]", "vaegis", "=", "vaegis.service.cli:main"),
        *("vaegis-train", "=", "vaegis.training.cli:main"),
    ]


def test_a_plain_install_asks_for_nothing_that_training_needs(metadata: email.message.Message):
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert [line for line in required if line.startswith("onnxruntime")]
    assert [line for line in required if line.startswith(HEAVY) and not line.startswith("onnxruntime")] == []


def test_the_training_extra_brings_torch_and_the_file_readers(metadata: email.message.Message):
    lines = metadata.get_all("Requires-Dist", [])
    assert [line for line in lines if line.startswith("torch<2.14") and "extra == 'training'" in line]
    assert [line for line in lines if line.startswith("pyarrow") and "extra == 'files'" in line]
