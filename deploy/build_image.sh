#!/usr/bin/env bash
# build_image.sh [TARGET]: build the service's image, or another target of the Dockerfile, with podman; print its name and size.
#   CONTAINER_IMAGE             name of the image (default vaegis:ci; of another target vaegis-TARGET:ci)
#   PYTHON_IMAGE                the base image (default the Dockerfile's), by its digest to pin it
#   CONTAINER_BUILD_ARGS           more arguments for `podman build`, split at spaces
#   CONTAINER_BASE_IMAGE_COMMAND   where no registry can be reached: called with the Python version and the base image's
#                               name, it must leave an image of that name in podman's store
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-}
image=${CONTAINER_IMAGE:-vaegis${target:+-$target}:ci}
read -r -a arguments <<<"${CONTAINER_BUILD_ARGS:-}"

base=${PYTHON_IMAGE:-$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)}
training_base=${TRAINING_PYTHON_IMAGE:-$base}
[ "$target" = training ] && needed=$training_base || needed=$base
if ! podman image exists "$needed"; then
  if [ -n "${CONTAINER_BASE_IMAGE_COMMAND:-}" ]; then
    python_version=$(sed -E 's/.*:([0-9]+\.[0-9]+).*/\1/' <<<"$needed")
    "$CONTAINER_BASE_IMAGE_COMMAND" "$python_version" "$needed"
  else
    podman pull --quiet "$needed"
  fi
fi

# The docker format, because the OCI format has no place for the health check.
podman build --pull=never --format docker ${target:+--target "$target"} \
  --build-arg "PYTHON_IMAGE=$base" --build-arg "TRAINING_PYTHON_IMAGE=$training_base" \
  --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
  --build-arg "CREATED=$(git show --no-patch --format=%cI 2>/dev/null || echo unknown)" \
  "${arguments[@]}" --tag "$image" .
podman images --format '{{.Repository}}:{{.Tag}} {{.Size}}' "$image"
