"""Under which conditions a figure was measured, and where results are kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SOURCES = ("service", "training", "benchmarks", ":!benchmarks/results")  # what figures depend on
COMMANDS = Path(sys.executable).parent  # where the environment that runs this keeps its commands
MODEL = ROOT / "build" / "shuttle.onnx"
SAMPLE = ROOT / "demo" / "shuttle" / "train.parquet"


def demo_model() -> Path:
    """Return the model of the demo's sample, trained if it is missing or older than the code that trains."""
    if not is_current(MODEL):
        MODEL.parent.mkdir(exist_ok=True)
        subprocess.run([COMMANDS / "vaegis-train", SAMPLE, "-o", MODEL], check=True)
    return MODEL


def is_current(model: Path) -> bool:
    """Return whether a model is there and no older than the code that trains."""
    changed = max(source.stat().st_mtime for source in (ROOT / "training").rglob("*.py"))
    return model.exists() and model.stat().st_mtime >= changed


def save(name: str, figures: dict[str, object]) -> None:
    """Write figures with their conditions to ``results/<name>.json``, and print them."""
    document = {
        "command": command_line(f"python benchmarks/{name}.py"),
        **figures,
        "measured_on": measured_on(),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(path.read_text(), end="")


def command_line(command: str) -> str:
    """Return ``command`` with the arguments of this process; absolute paths, which hold only here, are FOLDER."""
    return " ".join([command, *("FOLDER" if Path(argument).is_absolute() else argument for argument in sys.argv[1:])])


def measured_on() -> dict[str, object]:
    """Return the date, commit, machine and versions of a measurement."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _git("rev-parse", "--verify", "--quiet", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", *SOURCES)),
        "cpu": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "unset"),
    }


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _field(path: Path, name: str) -> str:
    """Return the first value that a file of /proc gives to ``name``."""
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "unknown")
