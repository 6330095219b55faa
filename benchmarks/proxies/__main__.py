"""Send 10 and 50 MiB of NDJSON and CSV through proxies, and count the lines of the answers.

    python -m benchmarks.proxies                                # everything that is installed; minutes
    python -m benchmarks.proxies --sizes 10 --clients curl --output build

Two more requests have to fail visibly: CSV that ends within quotes, and one whose worker is killed while its answer is
sent. Exits with 1 if a client saw anything else than a whole answer, or than an error for these two.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.conditions import RESULTS, measured_on
from benchmarks.proxies import clients, servers
from benchmarks.quality.report import table

NDJSON, CSV = "application/x-ndjson", "text/csv"
_NOTE: Final = "x" * 100
"""The text of a column that the model does not know: as in most real records, not every byte is scored."""
WHOLE = "whole"
BROKEN, KILLED = "CSV, 10 MiB, ends within quotes", "worker killed during the answer"
EXPECTED: Final = {BROKEN: ("400",), KILLED: ("IncompleteRead", WHOLE)}
"""How the cells of a row may begin, unless with ``WHOLE``. A proxy may hold the rest of a small answer already."""
_OK: Final = 200
_FAILED: Final = 400
_TITLE: Final = """# Large requests through proxies

`make proxies`: `vaegis serve` with two workers and its defaults, proxies as in
[Reverse proxies](../../docs/proxies.md), all on one machine. Each
record has a column of 100 characters that the model does not know and that is ignored.

A cell tells what the client saw, and after how many seconds. *Whole*: status 200 and one line for each line sent. A
number is the status of an error. Otherwise it is the error that the client reported.
"""


@dataclass(frozen=True, slots=True)
class Body:
    """A file to post."""

    name: str
    content_type: str
    path: Path
    lines: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the page and return 1 if a cut answer passed for a whole one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", type=int, default=[10, 50], help="MiB of a body (%(default)s)")
    parser.add_argument("--clients", nargs="+", choices=clients.CLIENTS, default=list(clients.CLIENTS), help="which")
    names = [proxy.name for proxy in servers.PROXIES]
    parser.add_argument("--proxies", nargs="+", choices=names, default=names, help="which")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of proxies.md (%(default)s)")
    parsed = parser.parse_args(arguments)
    wanted = [proxy for proxy in servers.PROXIES if proxy.name in parsed.proxies]
    present = [proxy for proxy in wanted if servers.is_installed(proxy)]
    callers = [client for client in parsed.clients if clients.is_installed(client)]
    absent = [proxy.name for proxy in wanted if proxy not in present] + sorted({*parsed.clients} - {*callers})
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        folder.chmod(0o755)  # proxies give up root, and still have to reach their folders
        bodies = [body for size in parsed.sizes for body in (ndjson(folder, size), csv(folder, size))]
        service = running.enter_context(servers.service(folder / "service.log"))
        fronts = {"directly": service.address}
        for number, proxy in enumerate(present):
            start = servers.started(proxy, service.address, folder / f"{number}")
            fronts[proxy.name] = running.enter_context(start)
        rows = list(measured(fronts, callers, [*bodies, broken(folder)]))
        rows += [interrupted(service, fronts, body) for body in bodies[:1]]
    page = [_TITLE, conditions(), table(["body", "lines sent", "client", *fronts], rows)]
    page += [f"Left out, because not installed: {', '.join(absent)}."] if absent else []
    parsed.output.mkdir(exist_ok=True)
    (parsed.output / "proxies.md").write_text("\n\n".join(part.strip() for part in page) + "\n")
    wrong = [row[0] for row in rows for cell in row[3:] if not cell.startswith(EXPECTED.get(row[0], (WHOLE,)))]
    print(f"{len(wrong)} requests ended otherwise than they should {sorted(set(wrong))}", file=sys.stderr)
    return int(bool(wrong))


def measured(fronts: dict[str, str], callers: Sequence[str], bodies: Sequence[Body]) -> Iterator[list[str]]:
    """Yield a row of the table for each body and client."""
    for body in bodies:
        for client in callers:
            cells = [outcome(clients.CLIENTS[client], address, body) for address in fronts.values()]
            yield shown([body.name, f"{body.lines:,}", client, *cells])


def interrupted(service: servers.Service, fronts: dict[str, str], body: Body) -> list[str]:
    """Return the row of a request whose worker is killed when the first bytes of the answer have come."""
    killed = partial(clients.with_http_client, after_first_part=service.kill_workers)
    cells = []
    for address in fronts.values():
        cells.append(outcome(killed, address, body))
        servers.wait_until_ready(address)
    return shown([KILLED, f"{body.lines:,}", "http.client", *cells])


def outcome(post: clients.Post, address: str, body: Body) -> str:
    """Return what a client saw of one request."""
    begin = time.perf_counter()
    try:
        status, lines = post(f"{address}/score", body.content_type, body.path)
    except Exception as error:  # noqa: BLE001 - whatever a client raises is what its user sees
        seen = str(error) if isinstance(error, clients.ClientError) else type(error).__name__
    else:
        seen = str(status) if status >= _FAILED else WHOLE
        if status < _FAILED and (status != _OK or lines != body.lines):
            seen = f"CUT: {status}, {lines:,} lines"
    return f"{seen}, {time.perf_counter() - begin:.1f} s"


def shown(row: list[str]) -> list[str]:
    """Print a row as it is measured, and return it."""
    print(" | ".join(row), flush=True)
    return row


def ndjson(folder: Path, size: int) -> Body:
    """Write about ``size`` MiB of NDJSON."""
    path = folder / f"{size}.ndjson"
    record = '{{"amount":{:.2f},"express":{},"country":"{}","placed_at":"2023-11-{:02d}T{:02d}:{:02d}:00Z",'
    lines = _write(path, size, f'{record}"note":"{_NOTE}"}}}}\n')
    return Body(f"NDJSON, {size} MiB", NDJSON, path, lines)


def csv(folder: Path, size: int) -> Body:
    """Write about ``size`` MiB of CSV, whose header has a line in the answer too."""
    path = folder / f"{size}.csv"
    record = "{:.2f},{},{},2023-11-{:02d}T{:02d}:{:02d}:00Z"
    lines = _write(path, size, f"{record},{_NOTE}\n", "amount,express,country,placed_at,note\n")
    return Body(f"CSV, {size} MiB", CSV, path, lines)


def broken(folder: Path) -> Body:
    """Write 10 MiB of CSV that ends within quotes."""
    path = folder / "broken.csv"
    whole = csv(folder, 10)
    path.write_bytes(whole.path.read_bytes() + b'"')
    return Body(BROKEN, CSV, path, whole.lines)


def _write(path: Path, size: int, pattern: str, header: str = "") -> int:
    """Fill a file with random orders; return its number of lines."""
    generator = np.random.default_rng(0)
    lines, written = 0, 0
    with path.open("w") as file:
        written += file.write(header)
        lines += bool(header)
        while written < size * 2**20:
            days, hours, minutes = (generator.integers(*limits, 10_000) for limits in ((20, 25), (8, 18), (0, 60)))
            amounts = np.exp(generator.normal(3, 0.4, 10_000))
            countries = generator.choice(["DE", "FR", "IT"], 10_000)
            express = generator.choice(["true", "false"], 10_000)
            orders = zip(amounts, express, countries, days, hours, minutes, strict=True)
            written += file.write("".join(pattern.format(*order) for order in orders))
            lines += 10_000
    return lines


def conditions() -> str:
    """Return a line that says what was measured where."""
    on = measured_on()
    return f"{on['date']}, commit {on['commit']}, {on['cpu']}, {on['cores']} cores, load average {on['load_average']}."


if __name__ == "__main__":
    sys.exit(main())
