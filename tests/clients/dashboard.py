"""Holds the dashboard to Grafana's own types: @grafana/schema from npm, and the TypeScript compiler, strict."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from tools import HERE, npm_folder, run

_DASHBOARD: Final = HERE.parents[1] / "deploy" / "grafana" / "dashboards" / "vaegis.json"
_PACKAGES: Final = ("@grafana/schema@12.1.1", "typescript@5.9.3")  # as the image in docker-compose.yml
_OPTIONS: Final = "./node_modules/@grafana/schema/dist/types/raw/composable/{}/panelcfg/x/{}PanelCfg_types.gen"
_PANELS: Final = {"stat": "Stat", "timeseries": "TimeSeries", "table": "Table", "bargauge": "BarGauge"}
_HEAD: Final = """import type { Dashboard } from '@grafana/schema';
// JSON has the values of enumerations.
type Plain<T> = T extends string ? `${T}`
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Prometheus = { annotations: { list: { target: { expr: string } }[] } };
"""


def main() -> int:
    """Compile the dashboard and the options of each panel; return 1 if they do not fit."""
    folder = npm_folder("grafana", _PACKAGES)
    (folder / "dashboard.ts").write_text(program(json.loads(_DASHBOARD.read_text(encoding="utf-8"))), encoding="utf-8")
    flags = ["--strict", "--noEmit", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler"]
    tsc = folder / "node_modules" / ".bin" / "tsc"
    return 0 if run("dashboard", tsc, *flags, "--target", "es2022", "dashboard.ts", folder=folder) else 1


def program(dashboard: dict[str, Any]) -> str:
    """Return TypeScript that compiles if the dashboard has Grafana's types."""
    imports = [f"import type * as {kind} from '{_OPTIONS.format(kind, name)}';" for kind, name in _PANELS.items()]
    declared = [f"export const dashboard: Plain<Dashboard> & Prometheus = {json.dumps(dashboard, indent=1)};"]
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            options = f"Plain<Partial<{panel['type']}.Options>>"
            declared.append(f"export const options{panel['id']}: {options} = {json.dumps(panel['options'])};")
    return _HEAD + "\n".join(imports + declared)


if __name__ == "__main__":
    sys.exit(main())
