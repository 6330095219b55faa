"""Holds the manifests of custom resources to their operators' own types: `make manifest-types`, which needs npm.

kubernetes-validate knows the resources of Kubernetes alone. ServiceMonitor and PrometheusRule are compiled, strict, and
validated with @kubernetes-models/prometheus-operator from npm; InferenceService is read with kserve's models from PyPI.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from tools import HERE, environment_of, npm_folder, run

_FOLDER: Final = HERE.parents[1] / "deploy" / "kubernetes"
_MONITORING: Final = _FOLDER / "components" / "monitoring"
_SERVICE: Final = _FOLDER / "kserve" / "inferenceservice.yaml"
_PACKAGES: Final = ("@kubernetes-models/prometheus-operator@6.0.0", "typescript@5.9.3")
_TYPES: Final = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1"


def main() -> int:
    """Check the manifests, and that each check can fail; return 1 if one does not end as it should."""
    folder = npm_folder("manifests", _PACKAGES)
    read = YAML(typ="safe").load
    documents = [read(path) for path in sorted(_MONITORING.glob("*.yaml")) if path.stem != "kustomization"]
    (folder / "package.json").write_text(json.dumps({"type": "module", "private": True}))
    tsc = (folder / "node_modules" / ".bin" / "tsc", "--strict", "--skipLibCheck", "--module", "nodenext")
    results = []
    for document in documents:
        kind = document["kind"]
        (folder / f"{kind}.ts").write_text(program(document), encoding="utf-8")
        results.append(run(f"{kind}, types", *tsc, f"{kind}.ts", folder=folder))
        results.append(run(f"{kind}, schema", "/usr/bin/env", "node", f"{kind}.js", folder=folder))
        (folder / "wrong.ts").write_text(program(document | {"spec": document["spec"] | {"no_such": 1}}))
        results.append(is_refused(kind, *tsc, "--noEmit", "wrong.ts", folder=folder))
    kserve = (environment_of("kserve", ("kserve",)) / "python", HERE / "use_kserve_types.py")
    service = read(_SERVICE)
    results.append(run("InferenceService, types", *kserve, json.dumps(service)))
    service["spec"]["predictor"]["containers"][0]["readinessProbe"]["no_such"] = 1
    results.append(is_refused("InferenceService", *kserve, json.dumps(service)))
    return 0 if all(results) else 1


def is_refused(kind: str, *command: str | Path, folder: Path | None = None) -> bool:
    """Return whether a command refuses the field that no resource has, and say so."""
    ended = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    refused = ended.returncode != 0 and "no_such" in ended.stdout + ended.stderr
    print(f"{kind} with an unknown field is refused: {'ok' if refused else 'failed'}", flush=True)
    return refused


def program(document: dict[str, Any]) -> str:
    """Return a program that compiles if the document has the operator's types, and runs if it fits its schema."""
    kind = document["kind"]
    return f"""import {{ {kind}, type I{kind} }} from '{_TYPES}/{kind}';
const manifest: I{kind} = {json.dumps(document, indent=1)};
new {kind}(manifest).validate();
"""


if __name__ == "__main__":
    sys.exit(main())
