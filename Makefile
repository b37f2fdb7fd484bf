# make demo, make test: all that is needed is Python 3.11 to 3.13. `make help` lists the rest.

# The first interpreter that is recent enough; `make PYTHON=/path/to/python3.12 test` names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
    "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
    && { echo "$$python"; break; }; done)
VENV ?= .venv
# The exact versions that the tests ran with; `make CONSTRAINTS= test` takes the newest instead.
CONSTRAINTS ?= constraints.txt
# More arguments for pytest: make test PYTEST="-k glyphs -x"
PYTEST ?=
# One process a core, each with whole files, since the tests of a file share what they set up.
parallel = --numprocesses auto --maxprocesses 8 --dist loadfile

python := $(VENV)/bin/python
install = $(python) -m pip install --quiet --disable-pip-version-check \
    $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable

.PHONY: help demo test test-slow test-thorough lint format docs bench clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo       train on whatever data is reachable; ends with a table and a picture'
	@echo 'make test       the fast tests'
	@echo 'make test-slow  the tests that take minutes'
	@echo 'make test-thorough  further variants of tests, which neither of the two runs'
	@echo 'make lint       ruff and mypy'
	@echo 'make format     let ruff put the files in order'
	@echo 'make docs       the site, into site/'
	@echo 'make bench      speed and memory beside PyTorch and plain JAX'
	@echo 'make clean      remove the environment and what the tools left behind'

demo: $(VENV)/.ready
	$(python) -m jaxfer.experiments.maml_omniglot --preset demo --out runs/demo \
	    $(if $(wildcard runs/demo/config.json),--resume)

test: $(VENV)/.ready-test
	$(python) -m pytest $(parallel) $(PYTEST)

test-slow: $(VENV)/.ready-test
	$(python) -m pytest $(parallel) -m "slow and not thorough" $(PYTEST)

test-thorough: $(VENV)/.ready-test
	$(python) -m pytest $(parallel) -m thorough $(PYTEST)

lint: $(VENV)/.ready-dev
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy

format: $(VENV)/.ready-dev
	$(python) -m ruff check --fix
	$(python) -m ruff format

docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build --strict

bench: $(VENV)/.ready-bench
	$(python) benchmarks/maml.py

clean:
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .mypy_cache
	find jaxfer tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(python):
	@test -n '$(PYTHON)' || { echo 'jaxfer needs Python 3.11, 3.12 or 3.13, and none was found:' \
	    'install one, or name it by "make PYTHON=/path/to/python3 ...".' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo 'jaxfer needs Python 3.11 or newer, and $(PYTHON) is not:' \
	    'name another by "make PYTHON=/path/to/python3 ...".' >&2; exit 1; }
	@echo 'Creating $(VENV) with $(PYTHON) ...'
	@'$(PYTHON)' -m venv '$(VENV)' || { rm -f '$(python)'; \
	    echo '$(PYTHON) cannot create a virtual environment: install its venv module' \
	    '(on Debian and Ubuntu the package python3-venv), or name another Python by' \
	    '"make PYTHON=/path/to/python3 ...".' >&2; exit 1; }

# A stamp for each set of packages: a second call installs nothing.
$(VENV)/.ready: pyproject.toml $(CONSTRAINTS) | $(python)
	@echo 'Installing jaxfer into $(VENV) (the first time this takes a few minutes) ...'
	@$(install) .
	@touch $@

$(VENV)/.ready-%: pyproject.toml $(CONSTRAINTS) | $(python)
	@echo 'Installing jaxfer[$*] into $(VENV) (the first time this takes a few minutes) ...'
	@$(install) '.[$*]'
	@touch $@
