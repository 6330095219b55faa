"""The built wheel installs one import name, and asks for torch only where training is asked for."""

from __future__ import annotations

import email
import os
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


def test_the_wheel_installs_one_import_name(wheel: zipfile.ZipFile):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"vaegis"}


@pytest.mark.parametrize("half", ["service", "training"])
def test_every_source_file_is_in_the_wheel(wheel: zipfile.ZipFile, half: str):
    files = [path for path in (ROOT / half).rglob("*.*") if "__pycache__" not in path.parts]
    sources = {f"vaegis/{path.relative_to(ROOT).as_posix()}" for path in files}
    assert f"vaegis/{half}/__init__.py" in sources
    assert sources == {name for name in wheel.namelist() if name.startswith(f"vaegis/{half}/")}
    integrations = {f"vaegis/integrations/{name}.py" for name in ("__init__", "model_file", "ray", "spark")}
    assert {"vaegis/__init__.py", "vaegis/py.typed", *integrations} <= set(wheel.namelist())


@pytest.mark.parametrize("order", [("foreign", "vaegis"), ("vaegis", "foreign")], ids="-then-".join)
def test_a_package_named_service_or_training_does_not_clash(
    wheel: zipfile.ZipFile, tmp_path: Path, order: tuple[str, str]
):
    wheels = {"foreign": foreign_wheel(tmp_path), "vaegis": Path(str(wheel.filename))}
    site = tmp_path / "site"
    for name in order:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
        installed = subprocess.run([*install, str(wheels[name])], capture_output=True, text=True, check=False)
        assert installed.returncode == 0, installed.stderr
        assert "already exists" not in installed.stderr
    probe = "import service, training, vaegis.service.cli as cli; print(service.OWNER, training.OWNER, cli.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    found = subprocess.run(
        [sys.executable, "-P", "-c", probe], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["foreign", "foreign", str(site / "vaegis" / "service" / "cli.py")]


def foreign_wheel(folder: Path) -> Path:
    """Return a wheel of somebody else's that installs packages named `service` and `training`."""
    path = folder / "foreign-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("service/__init__.py", "OWNER = 'foreign'\n")
        archive.writestr("training/__init__.py", "OWNER = 'foreign'\n")
        archive.writestr("foreign-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
        archive.writestr(
            "foreign-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("foreign-1.0.dist-info/RECORD", "")
    return path


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
