# Two commands set everything up: `make demo` and `make test`. Both may be repeated.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: demo test lint types docs bench check clean

demo: $(VENV)/.installed
	@$(BIN)/hrinet demo --overwrite

# In three processes: one that went through all tests, and so held PyTorch, OpenVINO, VTK and every
# decoder at the same time, has ended in a segmentation fault of native code; one that came to the
# training after half of them, too.
TESTS_FIRST := $(wildcard tests/test_[a-m]*.py)
TESTS_LAST := $(wildcard tests/test_t*.py)
TESTS_SECOND := $(filter-out $(TESTS_FIRST) $(TESTS_LAST),$(wildcard tests/test_*.py))
test: $(VENV)/.test
	$(BIN)/python -m pytest --cov --cov-report= $(TESTS_FIRST)
	$(BIN)/python -m pytest --cov --cov-append --cov-report= $(TESTS_SECOND)
	$(BIN)/python -m pytest --cov --cov-append --cov-report=term $(TESTS_LAST)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

check: lint types test

clean:
	rm -rf $(VENV) demo-output docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The stamps make the second run quick: pip is only asked again when pyproject.toml changes.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) install -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.installed
	$(PIP) install -c constraints.txt -e . --group test
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.installed
	$(PIP) install -c constraints.txt -e '.[all]' --group test --group extras-test --group lint
	@touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/.installed
	$(PIP) install -e . --group docs
	@touch $@
