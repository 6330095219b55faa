# Three images, chosen by `--target`. The last one is the default: the service without torch, compilers or pip's cache.
#   training   `vaegis-train`, with torch
#   feeder     the client of deploy/pipelines and the demo's feed, for docker-compose.yml
# To build from the very image that was looked at, name it by its digest (docs/operating.md).
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm
ARG TRAINING_PYTHON_IMAGE=${PYTHON_IMAGE}

FROM ${TRAINING_PYTHON_IMAGE} AS training

LABEL org.opencontainers.image.title="vaegis-training" \
      org.opencontainers.image.description="Trains a model from records and exports one ONNX file" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
# Where pip finds another build of torch. The default one on Linux holds CUDA; the CPU build is a tenth of its size:
#   --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_EXTRA_INDEX_URL=
ARG PIP_FIND_LINKS=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONUNBUFFERED=1
WORKDIR /build
COPY deploy/requirements-build.txt constraints.txt pyproject.toml README.md LICENSE ./
COPY vaegis vaegis
COPY service service
COPY training training
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --quiet --require-hashes --requirement requirements-build.txt \
    && pip install --quiet --no-build-isolation --constraint constraints.txt '.[training]'
# A new volume takes over the owner of the folder that it is mounted on.
RUN mkdir /models && chown 10001:10001 /models
WORKDIR /srv/empty
USER 10001:10001
ENTRYPOINT ["vaegis-train"]

FROM ${PYTHON_IMAGE} AS feeder

COPY deploy/requirements-pipelines.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    PIP_ROOT_USER_ACTION=ignore pip install --quiet --require-hashes --requirement requirements-pipelines.txt
COPY deploy/pipelines/client.py deploy/alertmanager/webhook_log.py demo/orders/live.py /srv/
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv
USER 10001:10001
CMD ["sh", "-c", "python live.py | python client.py - --batch 100 -o /dev/null --refused /dev/null --url http://vaegis:8080"]

FROM ${PYTHON_IMAGE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
RUN apt-get update -qq \
    && apt-get install -qq --yes --no-install-recommends binutils >/dev/null \
    && rm -rf /var/lib/apt/lists/* \
    && python -m venv --without-pip /opt/vaegis

# The dependencies change less often than the code, so they have a layer of their own.
COPY deploy/requirements-build.txt deploy/requirements-service.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --quiet --require-hashes --requirement requirements-build.txt \
    && pip --python /opt/vaegis/bin/python install --quiet --no-compile --require-hashes --only-binary :all: --requirement requirements-service.txt

COPY pyproject.toml README.md LICENSE ./
COPY vaegis vaegis
COPY service service
COPY training training
# Training cannot run without torch, so neither its package nor its command belongs in the image. What is dropped of
# onnxruntime and numpy are converters of models, the library for C programs, test suites, and what compilers and type
# checkers read; and of all libraries their symbols for debuggers, 22 MB. Bytecode is compiled here because the service's
# user cannot write it; unchecked, so that the times of files do not matter.
RUN python -m hatchling build -t wheel -d /build/wheel \
    && pip --python /opt/vaegis/bin/python install --quiet --no-compile --no-deps --no-index wheel/vaegis-*.whl \
    && cd /opt/vaegis/lib/python3.13/site-packages \
    && rm -r vaegis/training ../../../bin/vaegis-train onnxruntime/tools onnxruntime/transformers onnxruntime/quantization \
       onnxruntime/capi/libonnxruntime.so.* numpy/f2py numpy/_core/include \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && find . -type f '(' -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.[cha]' ')' -delete \
    && find . -type f -name '*.so*' -exec strip --strip-unneeded {} + \
    && python -m compileall -q --invalidation-mode unchecked-hash .

FROM ${PYTHON_IMAGE}

# The commit that is built, and when: `make image` says both.
ARG REVISION=unknown
ARG CREATED=unknown
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="vaegis" \
      org.opencontainers.image.description="Scores records against an exported vaegis model over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

COPY --from=build /opt/vaegis /opt/vaegis
# On this address the service starts only with keys (VAEGIS_KEYS_FILE, VAEGIS_KEYS) or with VAEGIS_OPEN=true.
ENV PATH=/opt/vaegis/bin:$PATH \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VAEGIS_HOST=0.0.0.0

# An empty folder, so that a name without a folder leads to nothing. Not every builder makes it for WORKDIR.
RUN mkdir /srv/empty
WORKDIR /srv/empty
# A number, so that Kubernetes can check runAsNonRoot without looking into the image.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as u; tls = 'VAEGIS_TLS_CERTIFICATE' in os.environ; u.urlopen(f'http{\"s\" * tls}://127.0.0.1:{os.getenv(\"VAEGIS_PORT\", 8080)}/readyz', timeout=2, context=ssl._create_unverified_context() if tls else None)"]
ENTRYPOINT ["vaegis"]
CMD ["serve", "/models/model.onnx"]
