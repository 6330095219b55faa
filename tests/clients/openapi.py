"""Holds the OpenAPI document to generators of clients: each accepts it, and the generated Python client is used.

openapi-python-client comes from PyPI, openapi-typescript and Redocly's linter from npm, all into build/clients.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
from typing import Final

from tools import BUILD, HERE, environment_of, golden_service, run

_PYTHON_PACKAGES: Final = ("openapi-python-client==0.29.1", "ruff")
_CLIENT: Final = "vaegis_client"
_LEFT_OUT: Final = ("will not be generated", "removal of")
"""What the generator says where it leaves out a route or a schema. Of the formats of records it knows JSON alone."""


def main() -> int:
    """Serve the golden model, generate clients from its document and call it; return 1 if any of it fails."""
    commands = environment_of("openapi", _PYTHON_PACKAGES)
    npm = BUILD / "npm"
    npm.mkdir(exist_ok=True)
    shutil.copy(HERE / "package.json", npm)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], check=True, cwd=npm)
    node = npm / "node_modules" / ".bin"
    with golden_service() as address:
        document = BUILD / "openapi.json"
        with urllib.request.urlopen(f"{address}/openapi.json") as answer:
            document.write_bytes(answer.read())
        generated = BUILD / _CLIENT
        generate = ["generate", "--path", document]
        generate += ["--output-path", generated, "--meta", "none", "--overwrite"]
        results = [
            run("openapi-python-client", commands / "openapi-python-client", *generate, without=_LEFT_OUT),
            run("generated client", commands / "python", HERE / "use_generated.py", address, folder=BUILD),
            run("redocly lint", node / "redocly", "lint", document, "--config", HERE / "redocly.yaml"),
            run("openapi-typescript", node / "openapi-typescript", document, "-o", BUILD / "vaegis.ts"),
            run("tsc", node / "tsc", "--strict", "--noEmit", "--skipLibCheck", "vaegis.ts", folder=BUILD),
        ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
