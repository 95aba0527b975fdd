# The testbed's commands. `make testbed` and `make test` install and build what is missing first; else that is a no-op.
# ARGS is passed on: make testbed ARGS="--size 256MiB --scheme pim-ssm", make test ARGS="-k quickstart -x".

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
# Tests share nothing, so any number of processes will do; most of their time they wait for a network to settle.
WORKERS ?= $(shell echo $$(( $$(nproc) + 2 )))
# What a run below makes of its own `make` or reads from its environment must not depend on how we were called.
unexport MAKEFLAGS MFLAGS MAKEOVERRIDES ARGS QUICK WORKERS

# Works from any directory (make -f .../Makefile) and with blanks in the path, where make's own functions do not.
ROOT := $(or $(shell cd "$$(dirname "$$(sed 's/^ *//' <<<'$(MAKEFILE_LIST)')")" && pwd),$(CURDIR))
IN := cd "$(ROOT)" &&

.DEFAULT_GOAL := help
.PHONY: help testbed test vm-test check lint bench fuzz golden deps forwarder fuzzer clean

help: ## Show this
	@$(IN) awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo '  ARGS="..." is passed on to testbed, pytest and the benchmarks; QUICK=1 shortens make bench.'

testbed: deps forwarder ## Deliver a 2 GiB model to 8 clouds over PIM, BIER and SR-P2MP through a link failure (scenarios/quickstart.yaml)
	@$(IN) scripts/as-root .venv/bin/testbed run scenarios/quickstart.yaml $(ARGS)

test: deps forwarder fuzzer ## Run all tests (needs root: many build small networks)
	@$(IN) scripts/as-root .venv/bin/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

vm-test: deps forwarder ## Run the tests that need netem in a virtual machine, where this kernel has none (five minutes)
	@$(IN) scripts/vm-test $(ARGS)

check: lint test ## Everything a change must pass

lint: deps ## Style and types
	@$(IN) .venv/bin/ruff check . && .venv/bin/mypy

bench: deps forwarder ## Run every benchmark; QUICK=1 keeps each under 45 seconds
	@$(IN) status=0; for bench in bench/[!_]*.py; do \
	  echo "== $$bench"; \
	  scripts/as-root .venv/bin/python "$$bench" $(if $(QUICK),--quick) $(ARGS) || status=1; \
	done; exit $$status

fuzz: ## Fuzz the forwarder's core for a minute; ARGS="-max_total_time=3600" for an hour (scripts/fuzz)
	@$(IN) scripts/fuzz $(ARGS)

golden: deps ## Write tests/golden anew from the code; read the diff before you commit it
	@$(IN) UPDATE_GOLDEN=1 .venv/bin/python -m pytest -q tests/golden $(ARGS)

deps: ## Install what is missing: Debian packages, then the virtual environment in .venv
	@$(IN) scripts/deps

forwarder: deps ## Build the programs in C, the forwarder and the delay line, where their sources are newer
	@$(IN) for program in forwarder delayline; do \
	  flock testbed/$$program/src make -s -C testbed/$$program/src || exit; \
	done

fuzzer: ## Build the fuzzer of the core (clang; testbed/forwarder/bin/fuzz)
	@$(IN) scripts/deps tests && flock testbed/forwarder/src make -s -C testbed/forwarder/src fuzz

clean: ## Remove caches and builds; .venv and results/ stay (leftover labs: .venv/bin/testbed clean)
	@$(IN) junk=(build testbed/forwarder/bin testbed/delayline/bin .mypy_cache .ruff_cache .pytest_cache .hypothesis); \
	junk+=($$(find * -name __pycache__ -prune)); \
	rm -rf "$${junk[@]}" 2>/dev/null || scripts/as-root rm -rf "$${junk[@]}"
