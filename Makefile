# make run    install once, then open the studio on http://127.0.0.1:7860 with the starter workspace
# make test   install once, then lint, types, import rules and the whole default test suite
# make demo   the whole loop on the starter kit with the scripted rater (some six minutes on 2 cores)

PYTHON ?= python3
WORKSPACE ?= $(HOME)/rlhf-studio
DEMO ?= demo-workspace
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: run test demo starter clean

run: $(STAMP)
	$(BIN)/rlhf-studio ui --workspace "$(WORKSPACE)"

test: $(STAMP)-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest

demo: $(STAMP)
	$(BIN)/rlhf-studio demo --workspace "$(DEMO)"

starter: $(STAMP)
	$(BIN)/python -m assets.build_starter

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'RLHF Studio needs Python 3.11 or newer; name one: make PYTHON=python3.12')"
	@echo "Installing RLHF Studio into .venv: about 2 GB of packages, some minutes. If it is interrupted, run the same command again."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable .
	touch $(STAMP)

$(STAMP)-dev: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)-dev

clean:
	rm -rf .venv build dist ./*.egg-info
