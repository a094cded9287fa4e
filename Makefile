# Two commands to know: `make run` and `make test`. Both need Python >= 3.11 and nothing else set up.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Tests wait more than they work; each process has servers of its own.
TEST_PROCESSES ?= 3

.PHONY: run test long upstream check js format bench bench-transport bench-pool bench-replay bench-accept bench-hub bench-jobs bench-metrics docs lock clean

run: $(INSTALLED)  ## the whole service, with an embedded Redis and Kafka unless REDIS_URL / KAFKA_BOOTSTRAP_SERVERS are set
	@$(BIN)/respond-async dev

test: check  ## everything, against a real Kafka and a real Redis that the tests start themselves
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile

long: $(INSTALLED)  ## the tests that take minutes: soaks and storms
	$(BIN)/pytest -m long

upstream: $(INSTALLED)  ## Celery's and kombu's own tests on kafka:// and on Redis, compared; an hour, or UPSTREAM=celery/test_tasks.py
	$(BIN)/python -m tests.upstream $(UPSTREAM)

check: $(INSTALLED)  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

js:  ## types and unit tests of the JavaScript client; its other tests are in `make test`
	cd clients/js && npm install --silent && npm run check && npm test

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-transport bench-metrics bench-pool bench-replay bench-accept bench-hub bench-jobs  ## all of them; arguments: make bench-transport ARGS="--quick --only publish"

bench-transport: $(INSTALLED)  ## kafka:// beside Redis, the stock Kafka transport and memory://
	$(BIN)/python benchmarks/transport_bench.py $(ARGS)

bench-pool: $(INSTALLED)  ## the asyncio pool beside taskiq, arq, gevent and threads
	$(BIN)/python benchmarks/pool_bench.py $(ARGS)

bench-replay: $(INSTALLED)  ## replays beside the bare loop of ASGITransport and the consumer that is replaced
	$(BIN)/python benchmarks/replay_bench.py $(ARGS)

bench-accept: $(INSTALLED)  ## 202s a second beside the endpoint itself, aiokafka and apply_async
	$(BIN)/python benchmarks/accept_bench.py $(ARGS)

bench-hub: $(INSTALLED)  ## the hub with ten thousand clients, beside one with a Redis connection for each
	$(BIN)/python benchmarks/hub_bench.py $(ARGS)

bench-jobs: $(INSTALLED)  ## background jobs beside plain apply_async, and with 100,000 of them in history
	$(BIN)/python benchmarks/jobs_bench.py $(ARGS)

bench-metrics: $(INSTALLED)  ## what metrics and traces cost in accepting and replaying, by CPU time or instructions
	$(BIN)/python benchmarks/metrics_bench.py $(ARGS)

docs: $(INSTALLED)  ## what is made from the code: the tables of settings, transport options and metrics
	$(BIN)/python -c 'from respond_async import settings_table; print("# Settings\n\nMade by `make docs` from `respond_async/settings.py`. Every setting is an environment variable.\n\n" + settings_table(), end="")' > docs/settings.md
	$(BIN)/python -m tests.support.options_table
	$(BIN)/python -m tests.support.metrics_table

lock: $(INSTALLED)  ## resolve the dependencies anew
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --upgrade --group service pyproject.toml -o requirements.lock --custom-compile-command "make lock"
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --group test --constraint requirements.lock pyproject.toml -o requirements-dev.lock --custom-compile-command "make lock"

$(INSTALLED): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "respond-async needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv; }
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

clean:
	rm -rf .venv .cache dist
