# make setup   a .venv with everything in it (does nothing the second time)
# make demo    the set-up, then train on a table of handwritten digits and write a report
# make test    the set-up, then the test suite
# make check   the set-up, then style, types, import layers and the README's own examples
#
# PYTHON=python3.12     another Python (3.11 or newer)
# TORCH_INDEX=URL       where torch comes from; see README.md, "Which torch". "default" is what pip is set up with

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?= auto
CPU_INDEX := https://download.pytorch.org/whl/cpu
PROBE := import urllib.request; urllib.request.urlopen('$(CPU_INDEX)/torch/', timeout=5)

BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

.PHONY: setup demo test check format clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Lockstep needs Python 3.11 or newer, however: $$($(PYTHON) --version 2>&1). Try: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python could not make $(VENV). On Debian and Ubuntu its venv is a package: apt install python3-venv" >&2; exit 1; }
	@index="$(TORCH_INDEX)"; \
	if [ "$$index" = auto ]; then \
	  index=default; \
	  if [ "$$(uname -s)" = Linux ] && $(BIN)/python -c "$(PROBE)" 2>/dev/null; then index="$(CPU_INDEX)"; fi; \
	fi; \
	if [ "$$index" = default ]; then set --; else set -- --extra-index-url "$$index"; fi; \
	echo "Installing into $(VENV); torch from: $$index"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$@" -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup
	$(BIN)/lockstep fit sklearn:digits --out runs/demo --overwrite
	@echo "The report: $(CURDIR)/runs/demo/report.html"

test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_readme.py tests/test_course.py -n auto --maxprocesses 4 --dist loadfile

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
