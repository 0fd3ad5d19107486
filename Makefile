PYTHON ?= python3
BIN := .venv/bin
# One thread a test process: the kernels of four processes with a pool each are slower than four single threads.
# A file stays in one process, whose exports its tests share.
JOBS ?= 2

.PHONY: demo test lint types venv clean

demo: venv
	@test -f build/demo/manifest.json || $(BIN)/mlp-export --backend xnnpack --model demo --out build/demo
	$(BIN)/mlp-export run build/demo --prompt 'What is the capital of France?' --stock-runner

test: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv
	$(BIN)/mypy

venv: .venv/stamp

.venv/stamp: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else "mlp-export needs Python 3.11 to 3.13: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
