# make course   everything from a fresh clone: the environment, the students' notebooks, the book, a graded demonstration
# make test     all tests, on the same footing
# make format   ruff, and the notebooks in their canonical form

SHELL := bash
.SHELLFLAGS := -o pipefail -c  # pip's failure counts, although its output is shortened

PYTHON ?= python3
BIN := .venv/bin
BUILD := _build/.done

# Warnings of libraries on start-up help nobody.
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PYTHONWARNINGS := ignore::DeprecationWarning

PACKAGE := $(shell find vitlab -name '*.py' -o -path 'vitlab/grading/students/*' -type f)
SOLUTIONS := $(wildcard solutions/*/*.ipynb)
BOOK := $(shell find book -type f -not -name '*.pyc') _config.yml _toc.yml

.PHONY: course test book exercises checks-report format clean

course: $(BUILD)/exercises $(BUILD)/book
	@echo "[4/4] The demonstration class"
	@$(BIN)/python -m vitlab.grading.demonstration
	@echo
	@echo "The book: open _build/html/index.html in a browser."

book: $(BUILD)/book
exercises: $(BUILD)/exercises

.venv/installed: pyproject.toml setup.py constraints.txt
	@echo "[1/4] The environment in .venv (PyTorch and Jupyter: a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Try: make course PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[book,grading,dev]' \
		| grep --line-buffered -E '^(Collecting|Installing|Successfully)' | cut -c1-100
	@$(BIN)/python -c 'import vitlab, nbgrader, jupyter_book'
	@touch $@

$(BUILD)/exercises: .venv/installed $(SOLUTIONS) $(wildcard book/*.ipynb) nbgrader_config.py _config.yml $(wildcard vitlab/authoring/*.py)
	@echo "[2/4] The students' notebooks: solutions/ -> exercises/"
	@$(BIN)/python -m vitlab.authoring
	@$(BIN)/python -m vitlab.authoring.exercises
	@mkdir -p $(BUILD) && touch $@

$(BUILD)/book: .venv/installed $(BUILD)/exercises $(PACKAGE) $(BOOK)
	@echo "[3/4] The book: execute the chapters, build the pages"
	@$(BIN)/jupyter-book build . --all -W -n --keep-going
	@touch $@

# Two workers; a notebook's cells share a kernel, so that a file stays with one worker. Skipped tests are listed.
test: $(BUILD)/exercises $(BUILD)/book
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -rs --durations 5 tests solutions --nbval-lax

# What the checks accept, refuse and explain: book/results/checks.json. An hour of one core.
checks-report: .venv/installed
	@$(BIN)/python -m vitlab.checks tables
	@$(BIN)/python -m vitlab.checks report

format: .venv/installed
	@$(BIN)/ruff check --fix && $(BIN)/ruff format
	@$(BIN)/python -m vitlab.authoring

clean:
	rm -rf _build .jcache
