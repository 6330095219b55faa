"""How far a request travels: the files and functions of the service that one request of each format passes.

    python benchmarks/request_path.py            # writes benchmarks/results/request_path.{json,md}
    python benchmarks/request_path.py --show     # prints the functions of each request, in order

A service is started in a process of its own, with a profiler that notes each Python function of `service/` that is
called. After some requests of a format have warmed it up, the next ones are noted. The most frequent number of calls
counts, because now and then a timer falls into a request, or the answer arrives before the service is done with it.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import threading
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final

import httpx
import pyarrow as pa
from conditions import RESULTS, ROOT, save

MODEL: Final = ROOT / "tests" / "golden" / "orders-v2.onnx"
RECORD: Final = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}
ARROW: Final = "application/vnd.apache.arrow.stream"
WARM_UP: Final = 20
NOTED: Final = 40
START, STOP = "start", "stop"
_TITLE: Final = """# The path of a request
The files and functions of the service that one request of one record passes: `python benchmarks/request_path.py`.

"""


@dataclass(frozen=True, slots=True)
class Step:
    """A call of a function."""

    file: str
    function: str


class Profiler:
    """Notes the calls of the service's own functions, on all threads, while it is on."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._files: dict[str, str | None] = {}
        self.steps: list[Step] = []
        self.is_on = False

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Note one event."""
        if not self.is_on or event != "call":
            return
        name = frame.f_code.co_filename
        if name not in self._files:
            path = str(Path(name).resolve())
            self._files[name] = path[len(self._folder) + 1 :] if path.startswith(self._folder) else None
        file = self._files[name]
        if file is not None:
            self.steps.append(Step(file, frame.f_code.co_qualname))


def serve() -> None:
    """Serve the model with a profiler, which lines of standard input switch on and off."""
    import vaegis.service  # noqa: PLC0415 - only here, whichever tree is on the path
    from vaegis.service.cli import main  # noqa: PLC0415

    profiler = Profiler(Path(vaegis.service.__path__[0]).resolve())

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() == START:
                profiler.steps = []
                profiler.is_on = True
                print(START, flush=True)
            else:
                profiler.is_on = False
                print(json.dumps([[step.file, step.function] for step in profiler.steps]), flush=True)

    threading.Thread(target=listen, daemon=True).start()
    threading.setprofile(profiler)
    sys.setprofile(profiler)
    sys.exit(main(["serve", str(MODEL), "--port", "0", "--workers", "1", "--log-level", "info"]))


def requests() -> dict[str, dict[str, Any]]:
    """Return one request of one record in each format."""
    cells = (json.dumps(value).strip('"') for value in RECORD.values())
    csv = f"{','.join(RECORD)}\n{','.join(cells)}\n"
    batch = pa.RecordBatch.from_pylist([RECORD])
    arrow = io.BytesIO()
    with pa.ipc.new_stream(arrow, batch.schema) as writer:
        writer.write_batch(batch)
    kinds = {"amount": "FP64", "express": "BOOL", "country": "BYTES", "placed_at": "BYTES"}
    inputs = [{"name": name, "datatype": kinds[name], "shape": [1], "data": [value]} for name, value in RECORD.items()]
    return {
        "JSON": {"url": "/score", "json": RECORD},
        "CSV": {"url": "/score", "content": csv, "headers": {"content-type": "text/csv"}},
        "Arrow": {"url": "/score", "content": arrow.getvalue(), "headers": {"content-type": ARROW}},
        "V2": {"url": "/v2/models/orders/infer", "json": {"inputs": inputs}},
    }


def noted(client: httpx.Client, service: subprocess.Popen[str], request: dict[str, Any]) -> list[Step]:
    """Return the steps of one request."""
    commands, lines = _pipes(service)
    client.post(**request).raise_for_status()
    commands.write(START + "\n")
    commands.flush()
    lines.readline()
    client.post(**request).raise_for_status()
    commands.write(STOP + "\n")
    commands.flush()
    return [Step(*step) for step in json.loads(lines.readline())]


def measured(service: subprocess.Popen[str]) -> dict[str, list[Step]]:
    """Return the usual path of a request in each format."""
    address = _pipes(service)[1].readline().split()[-1]
    found: dict[str, list[Step]] = {}
    with httpx.Client(base_url=address, timeout=60) as client:
        for name, request in requests().items():
            for _ in range(WARM_UP):
                client.post(**request).raise_for_status()
            paths = [noted(client, service, request) for _ in range(NOTED)]
            usual = statistics.mode(map(len, paths))
            found[name] = next(path for path in paths if len(path) == usual)
    return found


def figures(steps: list[Step]) -> dict[str, int]:
    """Return how many files, functions, calls and changes of file there are."""
    return {
        "files": len({step.file for step in steps}),
        "functions": len(set(steps)),
        "calls": len(steps),
        "changes_of_file": sum(one.file != other.file for one, other in pairwise(steps)),
    }


def main() -> None:
    """Measure, and write or show what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print the functions, and write nothing")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve()
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as service:
        try:
            found = measured(service)
        finally:
            service.terminate()
    if args.show:
        for name, steps in found.items():
            print(name, figures(steps))
            for step in steps:
                print(f"    {step.file}: {step.function}")
        return
    counted = {name: figures(steps) for name, steps in found.items()}
    save("request_path", {"requests": counted})
    rows = ["| format | files | functions | calls | changes of file |", "| --- | --- | --- | --- | --- |"]
    rows += [f"| {name} | " + " | ".join(map(str, row.values())) + " |" for name, row in counted.items()]
    (RESULTS / "request_path.md").write_text(_TITLE + "\n".join(rows) + "\n")


def _pipes(service: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if service.stdin is None or service.stdout is None:
        raise RuntimeError("expected pipes to the service, got none")
    return service.stdin, service.stdout


if __name__ == "__main__":
    main()
