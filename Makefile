# Everything a person runs. `make demo` and `make test` install what they need into .venv first.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export HF_HUB_DISABLE_TELEMETRY := 1
export HF_HUB_DISABLE_PROGRESS_BARS := 1
export PYTHONUNBUFFERED := 1
# Without its byte code torch takes 20 s to import, in every stage.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check types fast format docs plan graph keep ui clean install

demo: install  ## the whole pipeline, from rendered clips to report/index.html
	@$(BIN)/python -m flows.parameters
	$(BIN)/dvc repro
	@echo "Report: $(CURDIR)/report/index.html"
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" = Darwin ]; then $(BIN)/python -m webbrowser "file://$(CURDIR)/report/index.html"; fi

test: install check  ## all checks and all tests
	$(BIN)/pytest -n 2 --dist loadfile -m "slow or integration"

check: install  ## lint, types and the fast tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@$(MAKE) --no-print-directory -j 2 types fast

types:
	$(BIN)/pyright --pythonpath $(BIN)/python

fast:
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow and not integration and not gpu and not multinode"

format: install  ## let ruff lay the code out
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: install  ## docs/parameters.md, from the parameter models
	$(BIN)/python docs/parameters.py

plan: install  ## what SFT and T-GRPO would need: make plan DEVICE=a100-80gb GPUS=8 PARAMS=profiles/paper.yaml
	@$(BIN)/python -m stages.plan $(if $(PARAMS),--params $(PARAMS)) $(if $(DEVICE),--device $(DEVICE)) $(if $(GPUS),--gpus $(GPUS)) $(PLAN)

graph: install  ## the stages, which of them would run, and what each one reads from
	@$(BIN)/python -m flows.overview

keep: install  ## after an edit that changes no result: make keep STAGE=sft records its outputs as they are
	@$(BIN)/python -m flows.keep $(STAGE)

ui: install  ## Prefect server, worker and deployments on loopback
	$(BIN)/python -m flows.serve

clean:  ## remove everything a run made, also DVC's cache; sources and the environment stay
	rm -rf data models predictions evaluations report dvc_plots .work .dvc/cache .dvc/tmp
	git worktree prune

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: run make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@
