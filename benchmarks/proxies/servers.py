"""Start the service, and the proxies with the very configurations that docs/proxies.md shows."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.conditions import COMMANDS, ROOT

MODEL: Final = ROOT / "tests" / "golden" / "orders-v2.onnx"
PAGE: Final = ROOT / "docs" / "proxies.md"
PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", f"{ROOT / 'build' / 'proxies' / 'bin'}"])
_WAIT_S: Final = 60
_LISTEN, _SERVICE = "8000", "8080"
"""The ports in the page, which are replaced by free ones."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A program that passes requests on."""

    name: str
    program: str
    language: str
    """Of the configuration's block in the page."""
    block: int
    """Which of the blocks in that language."""
    around: Callable[[str, Path], str]
    """Adds to the configuration what only a run in a folder of its own needs."""
    command: Callable[[Path, str], list[str]]
    """The command line, from the configuration's path and the port."""


def _nginx(configuration: str, folder: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    return (
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{configuration}}}\n"
    )


def _haproxy(configuration: str, _: Path) -> str:
    return f"global\n    maxconn 100\n{configuration}"


def _as_shown(configuration: str, _: Path) -> str:
    return configuration


def _caddy(configuration: str, folder: Path) -> str:
    return f"{{\n    admin off\n    auto_https off\n    storage file_system {folder}/storage\n}}\n{configuration}"


def _squid(configuration: str, folder: Path) -> str:
    return (
        f"pid_filename {folder}/pid\ncache_log /dev/null\naccess_log none\nmax_filedescriptors 1024\n"
        f"shutdown_lifetime 0 seconds\npinger_enable off\n{configuration}"
    )


def _varnish_command(path: Path, port: str) -> list[str]:
    return [
        "varnishd",
        "-F",
        "-n",
        f"{path.parent}/work",
        "-a",
        f"127.0.0.1:{port}",
        "-f",
        f"{path}",
        "-s",
        "malloc,64m",
    ]


def _envoy_command(path: Path, _: str) -> list[str]:
    return ["envoy", "--config-yaml", path.read_text(), "--disable-hot-restart", "--concurrency", "2", "-l", "error"]


PROXIES: Final = (
    Proxy("nginx", "nginx", "nginx", 0, _nginx, lambda path, _: ["nginx", "-c", f"{path}", "-e", "stderr"]),
    Proxy("nginx, HTTP/1.1", "nginx", "nginx", 1, _nginx, lambda path, _: ["nginx", "-c", f"{path}", "-e", "stderr"]),
    Proxy("HAProxy", "haproxy", "haproxy", 0, _haproxy, lambda path, _: ["haproxy", "-db", "-f", f"{path}"]),
    Proxy("Varnish", "varnishd", "vcl", 0, _as_shown, _varnish_command),
    Proxy(
        "Caddy",
        "caddy",
        "caddyfile",
        0,
        _caddy,
        lambda path, _: ["caddy", "run", "--config", f"{path}", "--adapter", "caddyfile"],
    ),
    Proxy("Envoy", "envoy", "yaml", 0, _as_shown, _envoy_command),
    Proxy("Squid", "squid", "squid", 0, _squid, lambda path, _: ["squid", "-N", "-f", f"{path}"]),
)


def is_installed(proxy: Proxy) -> bool:
    """Return whether the proxy's program is there."""
    return shutil.which(proxy.program, path=PATH) is not None


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    address: str
    supervisor: int

    def kill_workers(self) -> None:
        """Kill the workers at once, as the kernel does when memory runs out; the supervisor starts others."""
        for worker in Path(f"/proc/{self.supervisor}/task/{self.supervisor}/children").read_text().split():
            os.kill(int(worker), signal.SIGKILL)


@contextmanager
def service(log: Path) -> Iterator[Service]:
    """Serve the model while the block runs, with two workers, because only then there is a supervisor."""
    command = [COMMANDS / "vaegis", "serve", MODEL, "--port", "0", "--workers", "2", "--open"]
    command += ["--unknown-columns", "ignore"]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r"http://\S+$", line.strip())
            if found is None:
                raise SystemExit(f"expected the service to name its address, got {line!r}")
            wait_until_ready(found[0])
            yield Service(found[0], process.pid)
        finally:
            process.terminate()


@contextmanager
def started(proxy: Proxy, target: str, folder: Path) -> Iterator[str]:
    """Run a proxy in front of ``target`` while the block runs; return its address."""
    folder.mkdir(mode=0o755)
    port = _free_port()
    blocks = re.findall(rf"^```{proxy.language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    ports = {_LISTEN: port, _SERVICE: target.rpartition(":")[2]}
    configuration = re.sub(rf"\b({'|'.join(ports)})\b", lambda found: ports[found[1]], blocks[proxy.block])
    path = folder / "configuration"
    path.write_text(proxy.around(configuration, folder))
    environment = {**os.environ, "PATH": PATH}
    with (
        (folder / "output").open("w") as output,
        subprocess.Popen(proxy.command(path, port), stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_ready(address)
            yield address
        finally:
            process.terminate()


def wait_until_ready(address: str) -> None:
    """Wait until the service answers at an address that it is ready."""
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            with urlopen(f"{address}/readyz", timeout=_WAIT_S):
                return
        except (URLError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])
