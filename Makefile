# From nothing to a running platform: `make run`. What CI runs: `make test`.
# Needs Python 3.11 or newer with venv, Node 20 or newer, and a package mirror or the internet for the first run.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
STAMPS := build/stamps
BIN := .venv/bin
UV := $(CURDIR)/.tools/bin/uv
CODE := shared functions infra_cdk tests
ENGINE_FILES := $(shell find shared/fastn/engine -type f \( -name '*.py' -o -name '*.js' \) 2>/dev/null)

# npm and uv keep caches below HOME, and some build machines set none.
ifeq ($(strip $(HOME)),)
export HOME := $(CURDIR)/build/home
endif
export UV
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
export npm_config_update_notifier := false
export npm_config_fund := false
export npm_config_audit := false
export npm_config_loglevel := error

# uv does not find every interpreter by itself, so it is told which one made the tools.
uv_python = UV_PYTHON="$$(.tools/bin/python -c 'import sys; print(sys.executable)')"
stamp = @mkdir -p $(STAMPS) && touch $@

.PHONY: help setup run demo test check bench soak synth format openapi clean toolchain

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMPS)/python $(STAMPS)/ministack $(STAMPS)/node $(STAMPS)/engine ## everything the other targets need; does nothing the second time

run: setup ## the platform on this machine, with a demonstration in it, until Ctrl-C
	@$(BIN)/fastn demo --keep-serving

demo: setup ## the demonstration from start to end
	@$(BIN)/fastn demo

test: check ## what CI runs: the checks, then every test
	@echo "test: pytest"
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: setup ## style, types, layers and generated files
	@echo "check: ruff"
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE) || { echo "not formatted: run 'make format'"; exit 1; }
	@echo "check: pyright"
	@node_modules/.bin/pyright
	@echo "check: import layers"
	@PYTHONPATH=. $(BIN)/lint-imports --config importlinter.toml --no-cache --no-logo
	@echo "check: openapi.json"
	@$(BIN)/python -m fastn.http.openapi . | cmp --silent - openapi.json \
		|| { echo "openapi.json is not what the endpoints declare: run 'make openapi'"; exit 1; }

bench: setup ## the figures: throughput, latency, CPU, import cost
	@$(BIN)/python -m tests.bench.run

soak: setup ## hours of load with kills, and nothing lost
	@$(BIN)/python -m tests.soak.run

synth: setup ## the CloudFormation templates, into cdk.out
	@echo "synth: cdk.out"
	@VIRTUAL_ENV="$(CURDIR)/.venv" PATH="$(CURDIR)/.venv/bin:$$PATH" node_modules/.bin/cdk synth --quiet

format: $(STAMPS)/python ## the house's style, applied
	@$(BIN)/ruff check --fix --quiet $(CODE) || true
	@$(BIN)/ruff format $(CODE)

openapi: $(STAMPS)/python ## openapi.json, from the endpoints' declarations
	@$(BIN)/python -m fastn.http.openapi . > build/openapi.json
	@mv build/openapi.json openapi.json
	@echo "openapi: openapi.json"

clean: ## removes what was built; keeps environments and the local platform's data
	@rm -rf build cdk.out .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find $(CODE) -name __pycache__ -prune -exec rm -rf {} +

toolchain:
	@mkdir -p "$$HOME"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Python 3.11 or newer is needed; name one with 'make PYTHON=/path/to/python3'."; exit 1; }
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null \
		|| { echo "Node 20 or newer is needed on the PATH (for the CDK command line and the type checker)."; exit 1; }

$(STAMPS)/uv: requirements-uv.lock | toolchain
	@echo "setup: uv, into .tools"
	@test -x .tools/bin/python || $(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(stamp)

$(STAMPS)/python: requirements-dev.lock pyproject.toml $(STAMPS)/uv
	@echo "setup: Python packages, into .venv"
	@test -x $(BIN)/python || $(uv_python) $(UV) venv --quiet .venv
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(stamp)

$(STAMPS)/ministack: requirements-ministack.lock $(STAMPS)/uv
	@echo "setup: local AWS control plane, into .venv-ministack"
	@test -x .venv-ministack/bin/python || $(uv_python) $(UV) venv --quiet .venv-ministack
	@$(UV) pip sync --quiet --python .venv-ministack/bin/python --require-hashes requirements-ministack.lock
	$(stamp)

$(STAMPS)/node: package-lock.json package.json | toolchain
	@echo "setup: Node packages, into node_modules"
	@npm ci > /dev/null
	$(stamp)

$(STAMPS)/engine: requirements-engine.lock $(ENGINE_FILES) $(STAMPS)/python
	@echo "setup: JavaScript engine, compiled ahead of time into build/engine"
	@$(BIN)/python -m fastn.engine.precompile build/engine > /dev/null
	$(stamp)
