# `make demo` and `make test` need Python 3.11 or newer with venv and pip, and make: nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
PEERS := .venv-peers
OLDEST := .venv-oldest
# Compiled modules are kept also where the environment says otherwise: each worker and many a test begins a process.
export PYTHONDONTWRITEBYTECODE :=
OF_SQL := tests/_async tests/test_grants.py tests/test_statements.py tests/langgraph/test_against_in_memory.py \
	tests/langgraph/test_conformance.py tests/langgraph/test_graphs.py tests/langgraph/test_history_model.py \
	tests/langgraph/test_store_model.py tests/langgraph/test_pruning.py

.PHONY: demo test test-long test-16 test-docker test-poisoning test-emulator test-peers test-oldest test-faults test-isolation soak bench-short-term bench-long-term bench-runs bench-row-security lint generate lock docs clean

demo: $(STAMP)
	$(BIN)/lakemem demo $(ARGS)

test: $(STAMP)
	$(BIN)/pytest --numprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

# Examples, how-to guides and benchmarks as a whole, and more examples of what holds for all of them.
test-long: $(STAMP)
	LAKEMEM_TEST_LONG=1 $(BIN)/pytest --numprocesses=4 --dist=worksteal -m "long or hypothesis" $(ARGS)

# What is SQL, on the oldest Postgres that lakemem works on, and on one in Docker.
test-16: $(STAMP)
	LAKEMEM_TEST_SERVERS=embedded-16 $(BIN)/pytest --numprocesses=4 --dist=loadfile $(OF_SQL) $(ARGS)

test-docker: $(STAMP)
	LAKEMEM_TEST_DOCKER=1 $(BIN)/pytest --numprocesses=4 --dist=loadfile $(OF_SQL) $(ARGS)

# Attempts to make memories act on a model, and how many were made of each kind.
test-poisoning: $(STAMP)
	$(BIN)/pytest -q -s tests/poisoning $(ARGS)

test-emulator: $(STAMP)
	$(BIN)/pytest tests/emulator tests/databricks $(ARGS)

# Rounds of faults, and what became of all that was acknowledged. ROUNDS=3000 for more of them, ARGS="--seed 7" to
# repeat some.
test-faults: $(STAMP)
	$(BIN)/python -W ignore -m tests.faults $(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

# Users kept apart, by every public method, also through a pgbouncer: installed where there is none, if that may be.
test-isolation: $(STAMP)
	@command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
		apt-get install -qq -y --no-install-recommends pgbouncer >/dev/null; } || \
		echo "pgbouncer could not be installed (Debian's package, as root): the tests through it are skipped"
	LAKEMEM_TEST_LONG=1 $(BIN)/pytest --numprocesses=2 --dist=load -rs tests/isolation $(ARGS)

# Short-lived tokens under load, beside the Databricks packages' pool where `make test-peers` has installed it.
# Two minutes; ARGS=--hour makes it an hour.
soak: $(STAMP)
	$(BIN)/python benchmarks/soak.py $(ARGS)

# Sessions and checkpoints beside the libraries that do the same; the Databricks session too, where `make test-peers`
# has installed it. ARGS=--quick sees that it works.
bench-short-term: $(STAMP)
	$(BIN)/python benchmarks/short_term.py $(ARGS)

# Long-term memory beside LangGraph's store; LOCOMO=path or CORPUS=path names the conversations. ARGS=--quick sees that
# it works.
bench-long-term: $(STAMP)
	$(BIN)/python benchmarks/long_term.py $(ARGS)

# Runs beside the server of the Databricks packages, where `make test-peers` has installed it. ARGS=--quick sees that it
# works.
bench-runs: $(STAMP)
	$(BIN)/python benchmarks/runs.py $(ARGS)

# The same calls with row-level security and without. ARGS=--quick sees that it works.
bench-row-security: $(STAMP)
	$(BIN)/python benchmarks/row_security.py $(ARGS)

# What depends on other libraries, on the oldest versions that lakemem allows.
test-oldest: $(OLDEST)/installed
	LAKEMEM_TEST_SERVERS=embedded-18 $(OLDEST)/bin/pytest --numprocesses=4 --dist=loadfile tests/openai_agents \
		tests/langgraph/test_conformance.py tests/langgraph/test_store.py tests/databricks tests/_async $(ARGS)

# The Databricks packages, unmodified, against the emulator, in an environment of their own.
test-peers: $(PEERS)/installed
	$(PEERS)/bin/pytest -o addopts=--strict-markers tests/peers $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/unasync.py --check

generate: $(STAMP)
	$(BIN)/python tools/unasync.py

docs: $(STAMP)
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build

lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-package lakemem requirements/dev.in -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-package lakemem requirements/peers.in -o requirements/peers.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-package lakemem --resolution lowest-direct requirements/oldest.in -o requirements/oldest.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header requirements/uv.in -o requirements/uv.txt

# uv installs the pinned set in seconds; pip alone needs minutes.
$(STAMP): requirements/dev.txt requirements/uv.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lakemem needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/uv.txt requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(PEERS)/installed: $(STAMP) requirements/peers.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PEERS)
	$(BIN)/uv pip sync --quiet --python $(PEERS)/bin/python --require-hashes requirements/peers.txt
	$(BIN)/uv pip install --quiet --python $(PEERS)/bin/python --no-deps --no-build-isolation -e .
	@touch $@

$(OLDEST)/installed: $(STAMP) requirements/oldest.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(OLDEST)
	$(BIN)/uv pip sync --quiet --python $(OLDEST)/bin/python --require-hashes requirements/oldest.txt
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) $(PEERS) $(OLDEST) build dist docs/_build
