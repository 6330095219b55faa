"""Where the project is installed without training, or apart from its sources, there are no benchmarks to test."""

import importlib.util

_HAS_BENCHMARKS = all(importlib.util.find_spec(name) is not None for name in ("torch", "benchmarks"))
collect_ignore_glob = [] if _HAS_BENCHMARKS else ["*"]
