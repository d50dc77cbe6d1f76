# make run    install once, then open the studio on http://127.0.0.1:7860 with the starter workspace (another port: make run PORT=7861)
# make test   install once, then lint, types, import rules and the whole default test suite
# make plan   say what an install would do, and do nothing
# make demo   the whole loop on the starter kit with the scripted rater (a quarter of an hour on 2 cores)

PYTHON ?= python3
PORT ?= 7860
WORKSPACE ?= $(HOME)/rlhf-studio
DEMO ?= demo-workspace
BIN := .venv/bin
INSTALL := $(PYTHON) -m assets.install
export TORCH_INDEX

.PHONY: run test plan demo starter clean

run:
	$(INSTALL)
	$(BIN)/rlhf-studio ui --workspace "$(WORKSPACE)" --port $(PORT)

test:
	$(INSTALL) dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest

plan:
	$(INSTALL) --plan

demo:
	$(INSTALL)
	$(BIN)/rlhf-studio demo --workspace "$(DEMO)"

starter:
	$(INSTALL)
	$(BIN)/python -m assets.build_starter

clean:
	rm -rf .venv build dist ./*.egg-info
