#!/usr/bin/env bash
# Build the service's image from the Dockerfile with podman and print its name and size.
#   CONTAINER_IMAGE                name of the image (default vaegis:ci)
#   PYTHON_IMAGE                the base image (default the Dockerfile's), by its digest to pin it
#   CONTAINER_BUILD_ARGS           more arguments for `podman build`, split at spaces
#   CONTAINER_BASE_IMAGE_COMMAND   where no registry can be reached: called with the Python version and the base image's
#                               name, it must leave an image of that name in podman's store
set -euo pipefail
cd "$(dirname "$0")/.."
image=${CONTAINER_IMAGE:-vaegis:ci}
read -r -a arguments <<<"${CONTAINER_BUILD_ARGS:-}"

base=${PYTHON_IMAGE:-$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)}
if ! podman image exists "$base"; then
  if [ -n "${CONTAINER_BASE_IMAGE_COMMAND:-}" ]; then
    python_version=$(sed -E 's/.*:([0-9]+\.[0-9]+).*/\1/' <<<"$base")
    "$CONTAINER_BASE_IMAGE_COMMAND" "$python_version" "$base"
  else
    podman pull --quiet "$base"
  fi
fi

# The docker format, because the OCI format has no place for the health check.
podman build --pull=never --format docker --build-arg "PYTHON_IMAGE=$base" "${arguments[@]}" --tag "$image" .
podman images --format '{{.Repository}}:{{.Tag}} {{.Size}}' "$image"
