# Every target builds on `env`, which needs only a Debian or Ubuntu machine with root and internet.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
CHECKERS := .venv-checkers
CLIENTS := .venv-clients
AGENTS := .venv-agents
export PYTHONUNBUFFERED := 1
# Each of a thousand processes would compile Ingot anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help env lock checkers clients tools images lint test test-unit test-e2e test-long test-driver gpu demo demo-down clean mutants zero-failures kill-sweep

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: $(VENV)/.locked ## Create .venv from requirements.lock

$(VENV)/.locked: requirements.lock pyproject.toml scripts/make-env
	@scripts/make-env $(VENV) requirements.lock .

checkers: $(CHECKERS)/.locked tests/report/axe/node_modules/.locked ## Create .venv-checkers and axe: independent checkers that tests run

$(CHECKERS)/.locked: requirements-checkers.lock scripts/make-env | env
	@scripts/make-env $(CHECKERS) requirements-checkers.lock

clients: $(CLIENTS)/.locked $(AGENTS)/.locked benchmarks/client_calls/node_modules/.locked ## Create .venv-clients, .venv-agents and node_modules: callers' clients

$(CLIENTS)/.locked: requirements-clients.lock scripts/make-env | env
	@scripts/make-env $(CLIENTS) requirements-clients.lock

$(AGENTS)/.locked: requirements-agents.lock scripts/make-env | env
	@scripts/make-env $(AGENTS) requirements-agents.lock

%/node_modules/.locked: %/package-lock.json
	@command -v npm >/dev/null || scripts/apt-install nodejs npm
	@echo "ingot: installing the locked packages into $*/node_modules"
	@npm ci --prefix $* --omit=dev --no-audit --no-fund --ignore-scripts --silent
	@touch $@

lock: env ## Resolve what is needed into the lock files
	@$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
	  --quiet --output-file requirements.lock
	$(BIN)/uv pip compile requirements-checkers.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
	  --quiet --output-file requirements-checkers.lock
	$(BIN)/uv pip compile requirements-clients.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
	  --quiet --output-file requirements-clients.lock
	$(BIN)/uv pip compile requirements-agents.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
	  --quiet --output-file requirements-agents.lock
	for place in benchmarks/client_calls tests/report/axe; do \
	  npm install --prefix $$place --package-lock-only --omit-lockfile-registry-resolved \
	    --no-audit --no-fund --ignore-scripts --silent || exit 1; done

lint: env ## ruff and mypy (strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tools: env
	@scripts/test-tools

images: env ## Make ahead what test hosts are made of and what they fetch (root, Linux)
	@$(BIN)/ingot sandbox images

# Half of their time they wait for processes; a worker that has nothing left takes tests from one that waits for long.
test-unit: tools checkers ## Tests that need no test host
	$(BIN)/pytest tests --ignore=tests/hosts -m "not e2e" -n 4 --dist worksteal

# Several sandboxes at a time, since hosts mostly wait; the sandbox's own tests look at this machine as a whole: alone,
# and in test-long, since every test on hosts would notice if they did not boot.
ON_HOSTS = $(BIN)/pytest $$(grep -rlF --include='test_*.py' pytest.mark.e2e tests | grep -v '^tests/sandbox/test_' | sort) \
  -n $(or $(WORKERS),3) --dist loadscope --no-loadscope-reorder

test-e2e: images checkers clients ## Tests on real booted test hosts (root, Linux)
	$(ON_HOSTS) -m "e2e and not long"

test-long: images checkers clients ## More proofs on booted hosts, some twenty minutes (no part of test)
	$(ON_HOSTS) -m "e2e and long"
	$(BIN)/pytest tests/sandbox --ignore=tests/sandbox/simulated -m e2e

# What the tests on hosts need is fetched and built beside what needs no host, once this machine's packages are there.
test: tools checkers ## Every test but those of test-long
	@$(MAKE) --no-print-directory -j4 lint test-unit clients images
	@$(MAKE) --no-print-directory test-e2e

test-driver: env ## NVIDIA's module built for real on Debian 12 and 13 (root; about ten minutes, no part of test)
	nice $(BIN)/pytest tests/dkms/real_builds.py

zero-failures: env ## 100,000 requests while everything is changed: none may fail (root; REQUESTS=… for less; no part of test)
	nice $(BIN)/python benchmarks/rollout.py --requests $(or $(REQUESTS),100000) --limit-s 14400

kill-sweep: env ## Kill a deploy at each of its side effects and heal it (root; an hour; no part of test)
	KILLS=$(or $(KILLS),all) nice $(BIN)/pytest tests/rollout/kill_sweep.py -m e2e -s

gpu: ## Measure the GPUs of this machine into docs/hardware (PYTHON=one whose torch has CUDA; under eight minutes)
	@$(or $(PYTHON),python3) scripts/gpu-record

# Hours for all of it, minutes for what changed; with SAMPLE=100 as many of each package, with SEED=… others.
# PACKAGES narrows it.
mutants: env ## Which faults would the tests miss? Hours; goes on where it stopped; no part of test
	nice $(BIN)/python scripts/mutants $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(PACKAGES)

# pip's own cache would stay behind: what the demo fetches is kept in one place, which demo-down removes.
demo: export PIP_NO_CACHE_DIR := 1
demo: env ## Boot a throwaway host, provision it, ask its model a question through TLS with a key
	@$(BIN)/ingot demo up

demo-down: env ## Remove every trace of the demo and of test hosts, cached images included
	@$(BIN)/ingot demo down

clean: ## Remove .venv and build leftovers
	rm -rf $(VENV) $(CHECKERS) $(CLIENTS) $(AGENTS) benchmarks/client_calls/node_modules tests/report/axe/node_modules build *.egg-info .pytest_cache .mypy_cache .ruff_cache mutants
