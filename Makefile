# Everything happens in .venv; `make demo` and `make test` set it up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN_STAMP := $(VENV)/.installed-run
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk 'BEGIN {FS = ":.*## "}; {printf "  %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with everything in it

# The files hold every dependency of a dependency, so pip has nothing to resolve (--no-deps): its resolver once took a
# newer release than the hashed one for a package asked for with an extra. requirements-run.txt is the third of
# requirements.txt that runs a pipeline on either engine; the rest tests and builds.
INSTALL := $(BIN)/pip install --quiet --no-deps --no-compile --require-hashes -r

$(RUN_STAMP): pyproject.toml requirements-run.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "scoreline needs Python 3.11 or newer; say which by: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Fetching packages into $(VENV): a minute or two, 1.6 GB"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) requirements-run.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

$(STAMP): $(RUN_STAMP) requirements.txt
	$(INSTALL) requirements.txt
	@touch $@

demo: $(RUN_STAMP) ## Generate a streaming service, run the whole pipeline on it, compare with Spark
	@$(BIN)/scoreline demo --compare

demo-spark: $(RUN_STAMP) ## The same on Spark
	@$(BIN)/scoreline demo --set engine=spark

test: lint docs $(STAMP) ## Lint, types, docs and all tests: what tests logic without Java, one of each kind on Spark
	$(BIN)/python -m pytest -n 2 --dist worksteal --engine embedded -m 'not slow and not alone'
	$(BIN)/python -m pytest -n 2 --dist worksteal -m '(spark or both) and not slow and not alone'
	$(BIN)/python -m pytest -m 'alone and not slow'  # servers and time limits: with nothing beside them

test-spark: $(STAMP) ## All tests on Spark (20 minutes)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not alone'

coverage: $(STAMP) ## Branches that unit and integration tests pass; fails below the floor in pyproject.toml (20 minutes)
	$(BIN)/python -m pytest tests/unit tests/integration -n 2 --dist worksteal -m 'not slow and not alone' --cov

FAULTS := $(CURDIR)/.faults.jsonl

faults: $(STAMP) ## The whole fault suite, with a line of counts per fault (up to an hour)
	@rm -f $(FAULTS)
	@$(MAKE) --no-print-directory -j 2 .faults-shared .faults-storage
	SCORELINE_FAULTS=$(FAULTS) $(BIN)/python -m pytest tests/faults/alone/test_killed_workers.py -m slow
	@SCORELINE_FAULTS=$(FAULTS) $(BIN)/python tests/faults/tally.py

# two halves that take about as long as each other
.faults-shared:
	SCORELINE_FAULTS=$(FAULTS) $(BIN)/python -m pytest tests/faults --ignore=tests/faults/alone --engine embedded \
		-m "slow or not slow"
	SCORELINE_FAULTS=$(FAULTS) $(BIN)/python -m pytest tests/faults --ignore=tests/faults/alone -k "not killed_at_any_time" \
		-m "slow or not slow"

.faults-storage:
	SCORELINE_FAULTS=$(FAULTS) $(BIN)/python -m pytest tests/faults/alone/test_failing_storage.py -m slow
	SCORELINE_FAULTS=$(FAULTS) $(BIN)/python -m pytest tests/faults/test_random_kills.py -k killed_at_any_time \
		-m "slow or not slow"

mutate: $(STAMP) .venv-mutate/.installed ## Break the deciding modules in small ways; shows what no test notices (hours; EACH=5: less)
	$(BIN)/python tests/mutate.py --each $(or $(EACH),25) $(MODULES)

audit-dependencies: $(STAMP) ## Known vulnerabilities of the pinned packages; fails for one it cannot look up
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements.txt

lint: $(STAMP) ## Style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# the variable: a word of the theme's makers, at each build
docs: $(STAMP) ## The docs as a site in site/, every link checked; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(STAMP) ## Bring the code into its style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# they use what .venv has: pandas, MLflow and this package are the same there
.venv-flavors/.installed: tests/requirements-flavors.txt $(STAMP)
	$(PYTHON) -m venv .venv-flavors
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(.venv-flavors/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	.venv-flavors/bin/pip install --quiet --no-deps -r $<
	@touch $@

flavors: .venv-flavors/.installed ## Models of xgboost, LightGBM, CatBoost and ONNX against plain MLflow
	PYTHONPATH=src .venv-flavors/bin/python -m pytest tests/flavors.py

bench: $(STAMP) .venv-peers/.installed .venv-replay/.installed ## Measure this project and its peers, write docs/performance.md
	$(BIN)/python benchmarks/suite.py

bench-quick: $(STAMP) .venv-peers/.installed ## The same on small sizes, within 5 minutes; writes no docs
	$(BIN)/python benchmarks/suite.py --quick

# a peer that cannot be installed is shown as "not here"
.venv-%/.installed: benchmarks/requirements-%.txt
	@$(PYTHON) -m venv .venv-$* && .venv-$*/bin/pip install --quiet --no-deps -r $< && touch $@ || rm -rf .venv-$*

package: $(STAMP) ## dist/: wheel, zip for executors, job files; ENVIRONMENT=1 packs an environment, too
	rm -rf dist
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	for wheel in dist/scoreline-*.whl; do cp $$wheel $${wheel%-py3-none-any.whl}.zip; done  # a wheel is a zip
	cp -r jobs dist/jobs
	for name in emr dataproc; do cp conf/deploy/$$name/bootstrap.sh dist/$$name-bootstrap.sh; done
	sed -n 's/^\([A-Za-z0-9_.-]*==.*[^ ]\) *\\$$/\1/p' requirements.txt > dist/constraints.txt
ifdef ENVIRONMENT
	$(PYTHON) -m venv dist/.environment
	dist/.environment/bin/pip install --quiet --constraint dist/constraints.txt dist/*.whl
	$(BIN)/venv-pack --quiet --prefix dist/.environment --output dist/environment.tar.gz
	rm -rf dist/.environment
endif

bench-export: $(STAMP) ## Time the export to PostgreSQL beside Spark's JDBC writer
	$(BIN)/python benchmarks/export.py

compat: ## The whole-job tests on Spark 3.5, 4.0 and 4.1, the examples in Airflow and Dagster, each in its own environment (20 minutes)
	$(PYTHON) tests/compat.py

scale: $(STAMP) ## What has to stay small when users and slices are many (5 minutes)
	$(BIN)/python -m pytest tests/integration/pipeline/test_scale.py -m slow -s

clusters: package ## Run the job on each cluster that runs here, a line per target (15 minutes; needs mvn)
	$(BIN)/python -m pytest tests/integration/engine/test_connect.py -m slow
	$(BIN)/python -m pytest tests/integration/sources/test_kafka.py -m slow
	$(BIN)/python tests/clusters/check.py

PIN := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header pyproject.toml

requirements: ## Pin every dependency by hash (needs uv)
	$(PIN) --extra dev --extra dev-deploy --extra dev-online --extra both --extra online --extra postgres --extra notify \
		--extra metrics --extra lineage -o requirements.txt
	$(PIN) --extra both --constraint requirements.txt -o requirements-run.txt

clean: ## Remove what demo and tests left behind
	rm -rf data/demo site .faults.jsonl .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis

-include online.mk

.PHONY: help setup demo demo-spark test test-spark coverage flavors faults .faults-shared .faults-storage mutate audit-dependencies lint docs format bench bench-quick package \
	bench-export compat scale clusters requirements clean
