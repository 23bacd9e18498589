# Two commands are enough: `make demo` shows the main job, `make test` proves everything. Both do all set-up on a machine that has
# only Python 3.11, make, git and a package manager (Go, for the real control plane of `make test`, comes from there too).
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
UV_VERSION := 0.13.8
export SSL_CERT_FILE ?= $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem))
ARGS ?=
# Of `make test`; each may have a control plane of its own, of up to 1.5 GiB.
WORKERS ?= $(shell awk '/^MemTotal/ {print ($$2 > 11000000) ? 5 : 3}' /proc/meminfo 2>/dev/null || echo 4)
# Hundreds of processes of ours start in `make test`: where the environment forbids to keep what was compiled, each compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup tools demo test test-fast check format crds lock bench clean

help: ## this text
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## the Python environment, from the committed lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q uv==$(UV_VERSION)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install -q --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install -q --no-deps -e .
	@touch $@

tools: setup ## the programs of the test bed: found, or built once and cached (about 25 minutes cold)
	$(BIN)/python -m tests.testbed.tools

demo: setup ## a good and a bad release on a real Envoy and a real Prometheus, in a minute
	@$(BIN)/python -m canary.sandbox.programs
	@$(BIN)/canary demo $(ARGS)

test: check tools ## everything: lint, types, layers, unit, conformance and end-to-end tests on real parts
	@# Tests with a cluster wait more than they compute: five side by side fill two cores, and now and then starve each other. What failed then
	@# must pass alone, once.
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -q $(ARGS) || $(BIN)/pytest -q --last-failed --last-failed-no-failures none $(ARGS)

test-fast: setup ## the inner loop: no real cluster, under 90 s
	@# Stolen rather than dealt out: each worker keeps files whole for long, so that what a module sets up is set up once, and none waits at the end.
	$(BIN)/pytest -m "not cluster and not mesh and not slow" -n 3 --dist worksteal -q $(ARGS)

check: setup ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m canary.api.crd --check crds charts/canary/files/crds
	$(BIN)/python dashboards/generate.py --check
	$(BIN)/python docs/images/generate.py --check
	$(BIN)/python -m canary.cli.reference --check

format: setup ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

crds: setup ## write crds/, the dashboard, the chart's copies of them, and the pictures
	$(BIN)/python -m canary.api.crd crds charts/canary/files/crds
	$(BIN)/python dashboards/generate.py
	$(BIN)/python docs/images/generate.py
	$(BIN)/python -m canary.cli.reference

lock: setup ## write requirements.lock anew
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements.lock

bench: tools ## figures beside the peer (FLAGGER_BIN names its binary)
	$(BIN)/python -m bench $(ARGS)

clean: ## remove what set-up made here (caches of the test bed stay)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
