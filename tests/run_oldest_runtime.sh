#!/usr/bin/env bash
# run_oldest_runtime.sh VERSION: tests/reader.py, which is made from docs/artifact-format.md alone, reads the golden model and
# reproduces its golden records with that version of onnxruntime. It wants a Python for which that version has wheels.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
environment=build/onnxruntime-$version
python=.venv/bin/python
if ! "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then
  echo "SKIPPED: onnxruntime $version has no wheels for $("$python" --version)"
  exit 0
fi
rm -rf "$environment"
"$python" -m venv "$environment"
"$environment/bin/python" -m pip install -qq "onnxruntime==$version" 'numpy<2'
"$environment/bin/python" -I tests/reader.py tests/golden/orders-v2.onnx
