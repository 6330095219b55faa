"""Write prometheus-rule.yaml, the rules of deploy/prometheus/rules.yml for the Prometheus operator."""

from pathlib import Path

FOLDER = Path(__file__).parent
RULES = FOLDER.parents[2] / "prometheus" / "rules.yml"
HEAD = """# Made from deploy/prometheus/rules.yml by make_prometheus_rule.py.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: vaegis
spec:
"""


def manifest() -> str:
    """Return the manifest, with the rules indented below `spec`."""
    lines = RULES.read_text(encoding="utf-8").partition("groups:\n")[2].splitlines()
    return HEAD + "\n".join(["  groups:", *(f"  {line}" if line else "" for line in lines)]) + "\n"


if __name__ == "__main__":
    (FOLDER / "prometheus-rule.yaml").write_text(manifest(), encoding="utf-8")
