# Everything runs in .venv, which these targets make by themselves.
VENV := .venv
# The one outside of .venv, whose programs may come first in the path.
PYTHON ?= $(shell PATH="$$(echo "$$PATH" | tr : '\n' | grep -vx '$(CURDIR)/$(VENV)/bin' | paste -sd:)" \
	command -v python3)
BIN := $(VENV)/bin
CONSTRAINTS := constraints.txt
# The system's pip installs into the environment: Debian's python3 cannot seed one with pip.
INSTALL := $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check -c $(CONSTRAINTS)

# How the tiers of tests run; ARGS come last, so that they can say otherwise.
PYTEST = $(BIN)/pytest -n 2 --dist loadfile

.PHONY: demo up browser pictures test rest test-all nightly long lowest newest chaos simulate conformance \
	conformance-client conformance-primitives bench fidelity docs lint types clean

demo: $(VENV)/.installed ## The main job on the local platform; kill it and run it again
	$(BIN)/session-block demo $(ARGS)

browser: ## Debian's Chromium, in which the tests of Prefect's UI run
	@bash tests/browser/install.sh

pictures: browser $(VENV)/.installed-dev ## The screenshots of the documentation
	$(BIN)/pytest -p no:cacheprovider tests/browser/pictures.py $(ARGS)

up: $(VENV)/.installed ## Prefect server, worker, local platform and deployments, until Ctrl-C
	$(BIN)/session-block up $(ARGS)

test: $(VENV)/.installed-dev ## Every promise once: at most 6 minutes on two cores
	@$(MAKE) --no-print-directory browser || true
	$(PYTEST) -m "not rest and not nightly" $(ARGS)

rest: $(VENV)/.installed-dev ## What `make test` leaves out, but for the nightly ones
	$(PYTEST) -m "rest and not nightly" $(ARGS)

test-all: test rest ## `make test`, then the rest

nightly: long lowest newest conformance chaos simulate ## Long tests, lowest versions, newest client, IBM's tests, chaos

long: $(VENV)/.installed-dev ## The tests that are marked nightly: long kills and loads, a newcomer's hour
	$(BIN)/pytest -m nightly $(ARGS)

lowest: ## `make test` with the lowest versions that are declared, in an environment of their own
	$(MAKE) --no-print-directory test VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt

newest: ## The client's tests with the newest client of all, in an environment of their own
	rm -rf .venv-newest
	$(MAKE) --no-print-directory VENV=.venv-newest .venv-newest/.installed-dev
	$(PYTHON) -m pip --python .venv-newest/bin/python install --quiet --disable-pip-version-check \
		--upgrade qiskit-ibm-runtime
	.venv-newest/bin/pytest tests/client $(ARGS)

chaos: $(VENV)/.installed-dev ## An experiment killed and cut off everywhere, counted at the server
	PYTHONPATH=tests $(BIN)/python -m tests.chaos.run $(ARGS)

simulate: $(VENV)/.installed-dev ## The core in 20,000 simulated worlds; ARGS="--seed N" tells one of them
	PYTHONPATH=tests $(BIN)/python -m tests.simulation.run $(ARGS)

conformance: conformance-client conformance-primitives ## IBM's own tests, fetched by pip, on the local platform

conformance-client: $(VENV)/.installed-dev ## The client's integration tests, with the client
	$(BIN)/python tests/conformance/run.py --python $(PYTHON) --work $(VENV)/conformance $(ARGS)

conformance-primitives: $(VENV)/.installed-dev ## Qiskit's tests of primitives, with the durable ones
	$(BIN)/python tests/conformance/qiskit_primitives.py --python $(PYTHON) --work $(VENV)/conformance

fidelity: $(VENV)/.installed ## What IBM is known to answer, asked of a local platform
	$(BIN)/session-block platform fidelity $(ARGS)

bench: $(VENV)/.installed-dev ## All benchmarks; fails where a target is missed
	$(BIN)/python -m benchmarks.run $(ARGS)

docs: $(VENV)/.installed-dev ## The documentation, as a site in site/; offline, and strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest

$(VENV)/.made:
	@echo "Making an environment in $(VENV)"
	@$(PYTHON) -m venv --without-pip $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml $(CONSTRAINTS)
	@echo "Installing the project and what it needs into $(VENV): once, about two minutes"
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml $(CONSTRAINTS)
	@echo "Installing the project, its tests and what they need into $(VENV): once, about three minutes"
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.installed
