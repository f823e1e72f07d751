# Two commands for a newcomer: `make demo` and `make test`. Each installs what it needs into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.9
# Where osv-scanner keeps OSV's export of PyPI; `make check AUDIT_DATABASE=all.zip` takes another.
AUDIT_DATABASE ?= ~/.cache/osv-scanner/PyPI/all.zip

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench docs chaos sbom lock clean

help:  ## Show what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/.installed  ## Make .venv and install everything that is pinned in requirements.lock

# The stamp is newer than the lock when all of it is installed.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "Installing the pinned packages (a minute or two, 8 GB on disk) ..."
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup  ## Run the whole loop on this machine: train, compile, tag a bucket, query the tags
	@$(BIN)/lga demo

test: setup  ## Run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not chaos and not gpu"

check: setup  ## Lint, types, the architecture, and known vulnerabilities where a database is at hand
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python deploy/generate.py --check
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/python deploy/audit.py $(AUDIT_DATABASE)
	@$(BIN)/python -m pytest -q tests/test_architecture.py

format: setup  ## Format the source
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup  ## Measure speed side by side; see benchmarks/README.md
	@for program in decode plan report train_overhead train_data engines score; do $(BIN)/python benchmarks/$$program.py || exit 1; done

docs: setup  ## Write what is generated in docs/
	@$(BIN)/python -m workers.settings.reference > docs/settings.md

chaos: setup  ## Break things for a long time
	@$(BIN)/python -m pytest -m chaos --timeout 3600

sbom: setup  ## Write sbom.json, a bill of materials of what is installed
	@$(BIN)/python deploy/sbom.py $(VENV) > sbom.json

lock: setup  ## Pin the newest allowed versions
	@$(UV) pip compile --quiet --universal --upgrade --python-version 3.11 --generate-hashes \
		--extra pretrained --extra demo --extra openvino --extra tensorrt-rtx --extra heif --extra mlflow --extra cluster --group dev pyproject.toml -o requirements.lock

clean:  ## Remove what was made, except the environment
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache demo-work
