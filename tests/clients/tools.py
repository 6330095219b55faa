"""What the checks of client programs share: a running service over the golden model, and packages under build/."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
BUILD: Final = HERE.parents[1] / "build" / "clients"

_MODEL: Final = HERE.parent / "golden" / "orders-v1.onnx"


@contextmanager
def golden_service(*flags: str) -> Iterator[str]:
    """Serve the golden model and give the address, such as http://127.0.0.1:40123."""
    command = [Path(sys.executable).parent / "vaegis", "serve", _MODEL, "--port", "0", "--workers", "1", *flags]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = server.stdout.readline() if server.stdout else ""
        address = re.search(r"http://\S+$", line.strip())
        if address is None:
            raise SystemExit(f"expected the service to name its address, got {line!r}")
        yield address[0]
        if server.poll() is not None:
            raise SystemExit(f"expected the service to go on, it ended with {server.returncode}")
    finally:
        server.terminate()
        server.wait()


def environment_of(name: str, packages: Sequence[str]) -> Path:
    """Return the folder of commands of an environment with packages from PyPI, made at the first run."""
    folder = BUILD / name
    commands = folder / "bin"
    installed = folder / "installed.txt"
    wanted = "\n".join(packages)
    if not installed.exists() or installed.read_text(encoding="utf-8") != wanted:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([commands / "python", "-m", "pip", "install", "-qq", *packages], check=True)
        installed.write_text(wanted, encoding="utf-8")
    return commands


def npm_folder(name: str, packages: Sequence[str]) -> Path:
    """Return a folder under build/ with packages from npm, installed or brought up to date."""
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--save-exact", *packages]
    subprocess.run(install, check=True, cwd=folder)
    return folder


def run(title: str, *command: str | Path, folder: Path | None = None, without: Sequence[str] = ()) -> bool:
    """Run a command, say how it ended, and return whether it ended well; what it printed is shown if it did not.

    It finds the other commands of its own folder. It has failed if it prints one of the texts ``without``.
    """
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    is_well = not ended.returncode and not any(text in ended.stdout for text in without)
    print(f"{title}: {'ok' if is_well else 'failed'}", flush=True)
    if not is_well:
        print(ended.stdout)
    return is_well
