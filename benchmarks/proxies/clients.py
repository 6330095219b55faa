"""The clients: each posts a file as its users would, and returns the status and the lines of the answer."""

from __future__ import annotations

import http.client
import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 120
_PART_BYTES: Final = 65_536


class ClientError(Exception):
    """A client reported that no whole answer came."""


Post = Callable[[str, str, Path], tuple[int, int]]
"""Posts a file to a URL with a content type; returns the status and the lines of the answer, or raises."""


def curl(url: str, content_type: str, body: Path) -> tuple[int, int]:
    """Post with curl, whose exit code tells a cut answer."""
    answer = body.with_suffix(".answer")
    command = ["curl", "--silent", "--max-time", f"{TIMEOUT_S}", "--header", f"Content-Type: {content_type}"]
    command += ["--data-binary", f"@{body}", "--output", f"{answer}", "--write-out", "%{http_code}", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClientError(f"exit {done.returncode}")
    with answer.open("rb") as lines:
        return int(done.stdout), sum(1 for _ in lines)


def with_requests(url: str, content_type: str, body: Path) -> tuple[int, int]:
    """Post with requests."""
    import requests  # noqa: PLC0415 - may be missing

    answer = requests.post(url, body.read_bytes(), headers={"Content-Type": content_type}, timeout=TIMEOUT_S)
    return answer.status_code, answer.content.count(b"\n")


def with_httpx(url: str, content_type: str, body: Path) -> tuple[int, int]:
    """Post with httpx."""
    import httpx  # noqa: PLC0415 - may be missing

    answer = httpx.post(url, content=body.read_bytes(), headers={"Content-Type": content_type}, timeout=TIMEOUT_S)
    return answer.status_code, answer.content.count(b"\n")


def with_http_client(
    url: str, content_type: str, body: Path, after_first_part: Callable[[], None] = lambda: None
) -> tuple[int, int]:
    """Post with the standard library, and call a function after the first bytes of the answer."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=TIMEOUT_S)
    try:
        connection.request("POST", address.path, body.read_bytes(), {"Content-Type": content_type})
        answer = connection.getresponse()
        lines = answer.read(_PART_BYTES).count(b"\n")
        after_first_part()
        return answer.status, lines + answer.read().count(b"\n")
    finally:
        connection.close()


def java(url: str, content_type: str, body: Path) -> tuple[int, int]:
    """Post with Java's HttpClient."""
    command = ["java", Path(__file__).with_name("Post.java"), url, content_type, body]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "Exception" in line), done.stderr)
        raise ClientError(reason.removeprefix('Exception in thread "main" '))
    status, lines = done.stdout.split()
    return int(status), int(lines)


CLIENTS: Final[dict[str, Post]] = {
    "curl": curl,
    "requests": with_requests,
    "httpx": with_httpx,
    "http.client": with_http_client,
    "Java": java,
}


def is_installed(client: str) -> bool:
    """Return whether a client can be used here."""
    if client in ("curl", "Java"):
        return shutil.which(client.lower()) is not None
    return importlib.util.find_spec(client) is not None
