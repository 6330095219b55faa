#!/usr/bin/env bash
# run_service_alone.sh X.Y: run the service's tests, except property tests, on Python X.Y against the wheel in build/wheel, without
# torch.
# The tests run in a copy outside the source tree, so that what they import can only be the installed package.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
root=$PWD

find_python() {
  local candidate
  for candidate in "python$version" "$(pyenv root 2>/dev/null || true)"/versions/"$version".*/bin/python; do
    if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

python=$(find_python)
if [ -z "$python" ]; then
  if [ "${CI:-}" = true ]; then
    echo "expected a Python $version on the PATH or among pyenv's versions, found none" >&2
    exit 1
  fi
  echo "SKIPPED: the service's tests on Python $version: none on the PATH or among pyenv's versions"
  exit 0
fi

environment=$root/build/alone-$version
rm -rf "$environment"
"$python" -m venv "$environment"
wheel=$(echo build/wheel/vaegis-*.whl)
"$environment/bin/python" -m pip install -qq --constraint constraints.txt "${wheel}[test]"

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# Without bytecode, which tests that run at the same time may be writing.
tar --create --exclude=__pycache__ tests docs pyproject.toml | tar --extract --directory="$copy"
cd "$copy"
"$environment/bin/python" -I - "$root" <<'PYTHON'
import importlib.util, sys
import vaegis.service
found = [name for name in ("torch", "onnx", "onnxscript", "sklearn") if importlib.util.find_spec(name)]
if found:
    sys.exit(f"expected an environment without training libraries, found {found}")
if not vaegis.service.__file__.startswith(sys.prefix):
    sys.exit(f"expected the installed wheel, got {vaegis.service.__file__}")
PYTHON
# pytest's own command, not `python -m pytest`, which would put the working folder on the path.
"$environment/bin/pytest" -p no:cacheprovider -m "not training and not hypothesis" \
  --ignore=tests/unit/training --ignore=tests/integration/training --ignore=tests/integration/test_packaging.py --ignore=tests/unit/test_readme.py --ignore=tests/unit/test_documents.py \
  --ignore=tests/unit/deploy --ignore=tests/integration/deploy
