"""Start what docker-compose.yml starts, as plain processes on loopback: `make up-local`.

Trains the sample if there is no model yet. Prometheus and Alertmanager run if they are installed. Every 10 seconds a
line says what the service counted; alerts are printed as they come. Ctrl-C ends everything. Logs are in build/up-local.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = Path(sys.executable).parent  # where the environment that runs this keeps its commands
HOST = "127.0.0.1"
PORTS = {"vaegis": 8080, "prometheus": 9090, "alertmanager": 9093, "webhook": 9095}
SHOWS = {
    "vaegis": "open this: the live page",
    "prometheus": "metrics and rules",
    "alertmanager": "alerts that fire",
    "webhook": "gets the alerts, which are printed here",
}
REPORT_S = 10.0
START_S = 120.0
STOP_S = 60.0
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

Counts = defaultdict[tuple[str, str], float]


class Processes:
    """The started processes, each with its log."""

    def __init__(self, folder: Path) -> None:
        """Keep logs in ``folder``."""
        self._folder = folder
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str | Path) -> None:
        """Start a command; its output goes to its log."""
        with self.log(name).open("wb") as log:
            self._started[name] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)

    def start_pipe(self, name: str, source: list[str | Path], command: list[str | Path]) -> None:
        """Start ``source``, and ``command`` to read what it prints."""
        reads, writes = os.pipe()
        with os.fdopen(reads, "rb") as stdin, os.fdopen(writes, "wb") as stdout, self.log(name).open("wb") as log:
            self._started[f"{name}'s source"] = subprocess.Popen(source, cwd=ROOT, stdout=stdout, stderr=log)
            self._started[name] = subprocess.Popen(command, cwd=ROOT, stdin=stdin, stdout=log, stderr=log)

    def log(self, name: str) -> Path:
        """Return the log of a process."""
        return self._folder / f"{name}.log"

    def check(self) -> None:
        """Exit if one has ended."""
        for name, process in self._started.items():
            if process.poll() is not None:
                last = "\n".join(self.log(name).read_text(errors="replace").splitlines()[-5:])
                raise SystemExit(
                    f"{name} ended with exit code {process.returncode}; {self.log(name)} ends with\n{last}"
                )

    def stop(self) -> None:
        """End all, those that were started last first."""
        for process in reversed(self._started.values()):
            process.terminate()
            try:
                process.wait(STOP_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):  # of a person who does not want to wait
                process.kill()


def main() -> int:
    """Start everything, and report until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=ROOT / "build" / "orders.onnx", help="trained if it is not there")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "up-local", help="for logs and data")
    parser.add_argument("--free-ports", action="store_true", help="instead of those of docker-compose.yml")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    ports = {name: free_port() for name in PORTS} if options.free_ports else PORTS
    require_free(ports)
    addresses = {name: f"{HOST}:{port}" for name, port in ports.items()}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    processes = Processes(options.folder)
    with ExitStack() as stack:
        stack.callback(processes.stop)
        try:
            if not options.model.exists():
                train(options.model)
            start_all(processes, options.model, options.folder.resolve(), addresses)
            report(processes, addresses)
        except KeyboardInterrupt:
            print("stopping")
    return EXIT_INTERRUPTED


def train(model: Path) -> None:
    """Train on the sample. Interrupted, leave no model: the one that `vaegis-train` keeps learned too little."""
    history = ROOT / "demo" / "orders" / "train.csv"
    try:
        subprocess.run([COMMANDS / "vaegis-train", history, "-o", model, "--name", "orders"], check=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"training ended with exit code {error.returncode}") from error
    except KeyboardInterrupt:
        model.unlink(missing_ok=True)
        raise


def start_all(processes: Processes, model: Path, folder: Path, addresses: dict[str, str]) -> None:
    """Start the service, the feeder, and what watches them."""
    host, _, port = addresses["vaegis"].partition(":")
    command = [COMMANDS / "vaegis", "serve", model.resolve(), "--host", host, "--port", port]
    processes.start("vaegis", *command, "--show-values")
    deadline_s = time.monotonic() + START_S
    while not read(addresses["vaegis"], "/readyz"):
        processes.check()
        if time.monotonic() > deadline_s:
            raise SystemExit(f"vaegis was not ready within {START_S:g} s; see {processes.log('vaegis')}")
        time.sleep(0.1)
    processes.start(
        "webhook", sys.executable, ROOT / "deploy/alertmanager/webhook_log.py", *addresses["webhook"].split(":")
    )
    watchers(processes, folder, addresses)
    client = [ROOT / "deploy/pipelines/client.py", "-", "--batch", "100", "-o", "/dev/null", "--refused", "/dev/null"]
    processes.start_pipe(
        "feeder",
        [sys.executable, ROOT / "demo/orders/live.py"],
        [sys.executable, *client, "--url", f"http://{addresses['vaegis']}"],
    )
    for name, address in addresses.items():
        print(f"{name:<13} http://{address:<16} {SHOWS[name]}", flush=True)
    print(f"The first alert comes within a minute. A line every {REPORT_S:g} s says what was scored; Ctrl-C ends all.")


def watchers(processes: Processes, folder: Path, addresses: dict[str, str]) -> None:
    """Start Prometheus and Alertmanager on copies of their configurations that name loopback."""
    prometheus = shutil.which("prometheus")
    alertmanager = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    if prometheus is None or alertmanager is None:
        print("Prometheus and Alertmanager are not installed, so there will be no alerts.")
        print("Debian and Ubuntu: apt-get install prometheus prometheus-alertmanager")
        addresses.pop("prometheus")
        addresses.pop("alertmanager")
        return
    for data in ("prometheus", "alertmanager"):  # an alert of the last time would not be sent again
        shutil.rmtree(folder / data, ignore_errors=True)
    shutil.copy(ROOT / "deploy/prometheus/rules.yml", folder)
    for source in ("prometheus/prometheus.yml", "alertmanager/alertmanager.yml"):
        text = (ROOT / "deploy" / source).read_text()
        for name, port in PORTS.items():
            text = text.replace(f"{name}:{port}", addresses[name])
        (folder / Path(source).name).write_text(text)
    processes.start(
        "alertmanager",
        alertmanager,
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/alertmanager",
        f"--web.listen-address={addresses['alertmanager']}",
        "--cluster.listen-address=",
    )
    processes.start(
        "prometheus",
        prometheus,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/prometheus",
        f"--web.listen-address={addresses['prometheus']}",
    )


def report(processes: Processes, addresses: dict[str, str]) -> None:
    """Print what is counted and what is alerted, until interrupted."""
    shown = 0
    before = Counts(float)
    next_s = time.monotonic() + REPORT_S
    while True:
        processes.check()
        alerts = processes.log("webhook").read_text().splitlines()
        for alert in alerts[shown:]:
            print(f"{time.strftime('%H:%M:%S')} {alert}", flush=True)
        shown = len(alerts)
        if time.monotonic() >= next_s:
            next_s += REPORT_S
            now = parse_counts(read(addresses["vaegis"], "/metrics"))
            print(f"{time.strftime('%H:%M:%S')} {summary(now, before)}", flush=True)
            before = now
        time.sleep(0.2)


def parse_counts(metrics: str) -> Counts:
    """Return the counters of records and columns, by name and column (empty if there is none), over all models."""
    counts = Counts(float)
    found = re.findall(r"^vaegis_(records_\w+|column_\w+)_total\{(.*)\} (\S+)$", metrics, re.MULTILINE)
    for name, labels, value in found:
        column = re.search(r'(?:^|,)column="(.*?)"(?:,|$)', labels)
        counts[name, column[1] if column else ""] += float(value)
    return counts


def summary(now: Counts, before: Counts) -> str:
    """Say what was counted since ``before``."""
    since = Counts(float, {series: count - before[series] for series, count in now.items()})
    words = [f"scored {since['records_scored', '']:,.0f} records, flagged {since['records_flagged', '']:,.0f}"]
    for meaning in ("missing", "unseen", "out_of_range"):
        for (name, column), count in since.items():
            if name == f"column_{meaning}" and count:
                words.append(f"{column} {meaning.replace('_', ' ')} {count:,.0f}")
    refused = since["records_refused", ""]
    return ", ".join([*words, f"refused {refused:,.0f}"] if refused else words)


def read(address: str, path: str) -> str:
    """Return an answer of the service, empty while there is none."""
    try:
        with urlopen(f"http://{address}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except (URLError, ConnectionError, TimeoutError):
        return ""


def require_free(ports: dict[str, int]) -> None:
    """Exit if something listens on a port."""
    for name, port in ports.items():
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
                probe.bind((HOST, port))
        except OSError as error:
            raise SystemExit(
                f"port {port}, for {name}: {error.strerror}; stop what listens there, or take other ports: "
                "make up-local FREE_PORTS=1"
            ) from error


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
