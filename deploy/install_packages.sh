#!/usr/bin/env bash
# install_packages.sh PACKAGE...: install those Debian packages that are missing. Elsewhere the programs must be there already.
set -euo pipefail

if ! command -v apt-get >/dev/null; then
  for program in podman prometheus promtool alertmanager amtool; do
    command -v "$program" >/dev/null || { echo "expected $program on the PATH, and no apt-get to install it with" >&2; exit 1; }
  done
  exit 0
fi

missing=()
for package in "$@"; do
  status=$(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [ "$status" = 'ii ' ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
