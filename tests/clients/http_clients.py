"""Posts a record to a running service with the HTTP clients of several languages, as far as they are installed.

Each prints the score that it got, and all must have got the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Final

from tools import HERE, environment_of, golden_service

_LANGUAGES: Final = HERE / "languages"
_PYTHON_PACKAGES: Final = ("requests", "httpx[http2]", "aiohttp", "urllib3", "cloudevents>=2.2")
_RECORD: Final = '{"amount": 22.5, "express": false, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}'
_CURL: Final = ("curl", "-sS", "--fail-with-body", "-H", "Content-Type: application/json", "-d", _RECORD)
_COMMANDS: Final = {
    "curl": _CURL,
    "curl, Expect": (*_CURL, "-H", "Expect: 100-continue"),
    "curl, HTTP/1.0": (*_CURL, "--http1.0"),
    "curl, HTTP/2 if possible": (*_CURL, "--http2"),
    "wget": ("wget", "-qO-", "--header=Content-Type: application/json", f"--post-data={_RECORD}"),
    "Node": ("node", _LANGUAGES / "score.mjs"),
    "Java": ("java", _LANGUAGES / "Score.java"),
    "Go": ("go", "run", _LANGUAGES / "score.go"),
    "PHP": ("php", _LANGUAGES / "score.php"),
    "Ruby": ("ruby", _LANGUAGES / "score.rb"),
    "Perl": ("perl", _LANGUAGES / "score.pl"),
}
"""The command of each client; curl and wget print the answer, the others the score."""


def main() -> int:
    """Serve the golden model, run every client, and return 1 if one fails or got another score."""
    python = environment_of("http", _PYTHON_PACKAGES) / "python"
    commands = _COMMANDS | {"Python": (python, HERE / "use_python.py")}
    present = {name: command for name, command in commands.items() if shutil.which(command[0])}
    with golden_service() as address:
        scores = {name: _score(name, [*map(str, command)], address) for name, command in present.items()}
    absent = sorted(commands.keys() - present.keys())
    print(f"not installed: {', '.join(absent) or 'none'}")
    return 0 if None not in scores.values() and len(set(scores.values())) == 1 else 1


def _score(name: str, command: list[str], address: str) -> float | None:
    prints_answer = command[0] in ("curl", "wget")
    arguments = [f"{address}/score"] if prints_answer else [address, _RECORD]
    ended = subprocess.run([*command, *arguments], check=False, capture_output=True, encoding="utf-8")
    if ended.returncode:
        print(f"{name}: failed\n{ended.stdout}{ended.stderr}")
        return None
    printed = json.loads(ended.stdout)
    score = float(printed["results"][0]["score"] if prints_answer else printed)
    print(f"{name}: {score!r}", flush=True)
    return score


if __name__ == "__main__":
    sys.exit(main())
