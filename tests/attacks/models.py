"""Attacks by a model file: each writes one, has the commands open it, and measures what it got.

A hostile file is served by a process of the attack's own, because the service under attack has the golden model.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

sys.path.insert(0, str(Path(__file__).parent))

import hostile_models
from attack import Attack, Outcome, Target

_VAEGIS: Final = (sys.executable, "-c", "import sys; from vaegis.service.cli import main; sys.exit(main())")
_LONGEST_S: Final = 120
_REFUSED: Final = 3
_OK: Final = 200
_MOST_SILENCE_S: Final = 2.0
_MOST_BYTES: Final = 400 * 2**20
"""What opening a refused file may take, onnxruntime itself included."""
_MOST_SERVING_BYTES: Final = 1400 * 2**20
_SECRET: Final = bytes(range(200, 232))


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a command ended: its exit code, its output, how long it took and its peak memory."""

    code: int | None
    output: str
    seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        code = "did not end" if self.code is None else f"exit code {self.code}"
        return f"{code} after {self.seconds:.1f} s with {self.peak_bytes / 2**20:.0f} MiB"


def _run(folder: Path, *arguments: object) -> _Ended:
    """Run a command to its end, or for as long as an attack waits."""
    started = time.monotonic()
    with (folder / "output").open("w+b") as file:
        process = subprocess.Popen(
            [*_VAEGIS, *map(str, arguments)], stdout=file, stderr=subprocess.STDOUT, cwd=folder, process_group=0
        )
        code: int | None = None
        peak = 0
        while time.monotonic() - started < _LONGEST_S:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                code, peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
                process.returncode = code
                break
            time.sleep(0.05)
        else:
            process.kill()
            process.wait()
        file.seek(0)
        return _Ended(code, file.read().decode(errors="replace"), time.monotonic() - started, peak)


def _refused(make: Callable[[bytes], bytes]) -> Callable[[Target], Outcome]:
    """Return an attack that holds if `verify` refuses a file, in little time and memory."""

    def run(target: Target) -> Outcome:
        model = target.folder / "hostile.onnx"
        model.write_bytes(make(target.model.read_bytes()))
        ended = _run(target.folder, "verify", model)
        return Outcome(ended.code == _REFUSED and ended.peak_bytes < _MOST_BYTES, str(ended))

    return run


def _reads_file(target: Target) -> Outcome:
    """Try to have a file of the working folder read, and its content told by the output `expected`."""
    (target.folder / "secret").write_bytes(_SECRET)
    model = target.folder / "hostile.onnx"
    model.write_bytes(hostile_models.reads_file(target.model.read_bytes(), "secret", len(_SECRET)))
    ended = _run(target.folder, "serve", model, "--port", "0", "--workers", "1", "--model-timeout-s", "20")
    return Outcome(ended.code == _REFUSED, str(ended))


def _reads_file_to_generate(target: Target) -> Outcome:
    """Try the same by the graph that draws records."""
    (target.folder / "secret").write_bytes(_SECRET)
    model = target.folder / "hostile.onnx"
    model.write_bytes(hostile_models.reads_file_to_generate(target.model.read_bytes(), "secret", len(_SECRET)))
    ended = _run(target.folder, "generate", model, "--count", "1", "-o", "drawn.csv")
    return Outcome(ended.code == _REFUSED, str(ended))


def _writes_through_link(target: Target) -> Outcome:
    """Have scores written over a private file through a link, which must keep its mode."""
    (target.folder / "records.csv").write_text("amount\n1\n")
    private = target.folder / "private.csv"
    private.touch(0o600)
    (target.folder / "link.csv").symlink_to(private)
    ended = _run(target.folder, "score", target.model, "records.csv", "-o", "link.csv")
    mode = private.stat().st_mode & 0o777
    return Outcome(ended.code == 0 and mode == 0o600 and private.stat().st_size > 0, f"mode {mode:o}, {ended}")


def _fills_memory(target: Target) -> Outcome:
    """Have one request make tensors of 3.2 GB."""
    model = hostile_models.expands_when_triggered(target.model.read_bytes(), 400_000_000)
    with _served(target.folder, model) as (url, process):
        status, _ = _posted(url)
        peak = _peak_bytes(process.pid)
        alive = _status(f"{url}/livez")
    held = alive == 200 and status >= 500 and peak < _MOST_SERVING_BYTES
    return Outcome(held, f"answered {status}, /livez {alive}, peak {peak / 2**20:.0f} MiB")


def _takes_long(target: Target) -> Outcome:
    """Have one request start an hour of work."""
    model = hostile_models.multiplies_when_triggered(target.model.read_bytes(), 1500, 4_000)
    with _served(target.folder, model, "--worker-timeout-s", "6") as (url, _):
        status, seconds = _posted(url)
        alive = _status(f"{url}/livez")
    return Outcome(alive == 200 and status == 504, f"answered {status} after {seconds:.1f} s, /livez {alive}")


def _hangs_one_node(target: Target) -> Outcome:
    """Have one request start a product of matrices that cannot be interrupted.

    Probes must be answered until the process ends, which it must.
    """
    model = hostile_models.multiplies_when_triggered(target.model.read_bytes(), 9000, 1)
    with _served(target.folder, model, "--worker-timeout-s", "3") as (url, process):
        posting = threading.Thread(target=_posted, args=(url,))
        posting.start()
        began = time.monotonic()
        longest_s = 0.0
        while process.poll() is None and time.monotonic() - began < _LONGEST_S:
            asked = time.monotonic()
            if _status(f"{url}/livez") == _OK:
                longest_s = max(longest_s, time.monotonic() - asked)
            time.sleep(0.02)
        posting.join()
        code = process.poll()
    ended = "the process hangs" if code is None else f"the process ended with exit code {code}"
    return Outcome(code == 1 and longest_s < _MOST_SILENCE_S, f"{ended}, until then /livez within {longest_s:.2f} s")


def _loads_for_long(target: Target) -> Outcome:
    """Have a graph of many nodes take minutes to load."""
    model = target.folder / "hostile.onnx"
    model.write_bytes(hostile_models.multiplies_when_triggered(target.model.read_bytes(), 2, 45_000))
    ended = _run(target.folder, "verify", model, "--model-timeout-s", "5")
    return Outcome(ended.code == _REFUSED, str(ended))


def _is_replaced(target: Target) -> Outcome:
    """Serve another sound model than the one whose digest is pinned."""
    pinned = json.loads(_run(target.folder, "inspect", "--json", target.model).output)["model_digest"]
    model = target.folder / "other.onnx"
    model.write_bytes(
        hostile_models.with_document(
            target.model.read_bytes(),
            hostile_models.MetadataKey.CALIBRATION,
            lambda document: document | {"alpha": 0.5},
        )
    )
    ended = _run(target.folder, "verify", model, "--digest", pinned)
    return Outcome(ended.code == _REFUSED, str(ended))


@contextmanager
def _served(folder: Path, model: bytes, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve a model on a free port; yield the address and the process."""
    path = folder / "hostile.onnx"
    path.write_bytes(model)
    process = subprocess.Popen(
        [*_VAEGIS, "serve", str(path), "--port", "0", "--workers", "1", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        yield line.rsplit(maxsplit=1)[-1] if line else "http://127.0.0.1:1", process
    finally:
        process.kill()
        process.communicate()


def _posted(url: str) -> tuple[int, float]:
    """Post the records at which the hostile models begin; return the status, 0 for none, and the seconds it took."""
    body = json.dumps([{"amount": 1.0}] * hostile_models.TRIGGER_RECORDS).encode()
    started = time.monotonic()
    status = _status(Request(f"{url}/score", body, {"Content-Type": "application/json"}))
    return status, time.monotonic() - started


def _status(request: Request | str) -> int:
    try:
        with urlopen(request, timeout=_LONGEST_S) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return 0


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else resource.RLIM_INFINITY


ATTACKS: Final[tuple[Attack, ...]] = (
    Attack("model: a tensor in another file, hidden in a tag of 33 bits", _reads_file),
    Attack("model: the same in the graph that draws records", _reads_file_to_generate),
    Attack("model: a loop without an end", _refused(hostile_models.loops)),
    Attack("model: 2.4 GB of constants", _refused(lambda model: hostile_models.expands_constant(model, 300_000_000))),
    Attack(
        "model: products of constants", _refused(lambda model: hostile_models.multiplies_constants(model, 3000, 60))
    ),
    Attack(
        "model: a tensor whose size depends on a value",
        _refused(lambda model: hostile_models.expands_by_value(model, 400_000_000)),
    ),
    Attack("model: tolerances of 1e308", _refused(hostile_models.tolerates_anything)),
    Attack("model: a decoder of two billion latents", _refused(hostile_models.draws_in_many_latents)),
    Attack("model: another one than was pinned", _is_replaced),
    Attack("scores written through a link to a private file", _writes_through_link),
    Attack("model: 45,000 nodes that take minutes to load", _loads_for_long, quick=False),
    Attack("model: seven records that make tensors of 3.2 GB", _fills_memory),
    Attack("model: seven records that start an hour of work", _takes_long, quick=False),
    Attack("model: seven records that hang in one node", _hangs_one_node, quick=False),
)
