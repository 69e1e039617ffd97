# make demo      the whole graph over examples/, with the stand-in writer
# make ui        the Dagster UI of ./hub (HOME_DIR=demo-hub shows the demo)
# make test      the test suite          make lint       lint, format, types, import contracts, and make docs
# make docs      the documentation site, into site/; broken links and anchors fail
# make generated  what is written from the code: graphs, tables of docs/, answers in tests/sql/snapshots
# make test-duckdb  the tests of what uses DuckDB, with the next major version of it
# make test-cluster  the tests of Postgres, Ray and several processes, with the extra [cluster]
# make test-vllm the tests against a real vLLM on the CPU
# make constraints  rewrite the constraints files, after a change of dependencies
# make demo-vllm MODEL=<hub name or folder>   the demo against vLLM serving MODEL here
# make bench     clients, many servers, dedup, crashes, the warehouse, search and vLLM's own limit, into docs/benchmarks.md
# make bench-quick  three ratios in three minutes, compared with docs/benchmarks.md
# make bench-gpu  the same limit of vLLM with a large model on a GPU; small without one
# make paper FILE=…  figure 10 and diversity of data that the paper's authors published, into paper-report/
# make servers   how runs end with servers of all kinds, into docs/servers.md (ONLY="think fence": some of them)

PYTHON ?= python3
BIN := .venv/bin
HOME_DIR ?= hub
DEMO_HOME ?= demo-hub
PORT ?= 3000
EXAMPLES := examples/web_pages.jsonl examples/notes.csv examples/personas.jsonl examples/messy.jsonl

# Let Python keep its compiled files: compiling at every start takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: paper install constraints demo demo-vllm ui test test-cluster test-duckdb test-vllm bench bench-gpu bench-quick servers lint docs generated clean
.DEFAULT_GOAL := demo

install: .venv/.installed

# pip installs uv and is removed; uv needs seconds where pip needs minutes. Every file is checked by its hash in
# constraints.txt. The project is installed last, without an index: a missing dependency is an error (make constraints).
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' constraints.txt >.venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement .venv/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --requirement constraints.txt
	$(BIN)/uv pip uninstall --quiet --python $(BIN)/python pip
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-index --no-build-isolation --editable .
	$(BIN)/python -m personahub_assets.embedding.minilm
	$(BIN)/python scripts/compile_kernels.py
	touch $@

# After a change of dependencies in pyproject.toml; UPGRADE=--upgrade renews all versions.
constraints:
	test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv; }
	sh scripts/constraints.sh $(UPGRADE)

demo: install
	mkdir -p $(DEMO_HOME)
	cp examples/hub.toml $(DEMO_HOME)/hub.toml
	PERSONAHUB_HOME=$(DEMO_HOME) $(BIN)/personahub ingest $(EXAMPLES)
	PERSONAHUB_HOME=$(DEMO_HOME) PERSONAHUB_LLM_URL=standin: $(BIN)/personahub run

demo-vllm: install
	sh scripts/vllm-env.sh
	$(BIN)/python scripts/demo_vllm.py "$(MODEL)"

# The home of the demo uses the stand-in, unless PERSONAHUB_LLM_URL is set.
UI_WRITER = $(if $(filter $(DEMO_HOME),$(HOME_DIR)),PERSONAHUB_LLM_URL=$${PERSONAHUB_LLM_URL:-standin:} )
ui: install
	$(UI_WRITER)PERSONAHUB_HOME=$(HOME_DIR) $(BIN)/personahub ui --port $(PORT)

# One BLAS thread per worker: with more, the workers compete for cores and take twice as long.
# One worker more than cores, because many tests wait for a process or a server.
test: install
	sh scripts/pinned-env.sh datasets
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m "not vllm and not cluster" --dist worksteal \
		--numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1))

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/vague_names.py --check
	$(MAKE) docs

docs: install
	sh scripts/pinned-env.sh docs
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict

generated: install
	$(BIN)/python scripts/draw_graph.py
	$(BIN)/python scripts/describe.py
	$(BIN)/python scripts/minilm_graph.py
	UPDATE_SNAPSHOTS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest tests/sql/test_snapshots.py

# DuckDB 2 is put before the pinned 1.5: everything else is the same. Two workers: with more, compiling takes longer.
DUCKDB_TESTS := tests/warehouse tests/sql/test_analysis.py tests/sql/test_lineage.py tests/sql/test_similar.py \
	tests/sql/test_snapshots.py tests/store/test_tables.py tests/search/test_selections.py tests/test_hub_api.py \
	tests/cli/test_mcp.py tests/browse
test-duckdb: install
	sh scripts/pinned-env.sh duckdb2
	PYTHONPATH=$$(echo $(CURDIR)/.venv-duckdb2/lib/python*/site-packages) OPENBLAS_NUM_THREADS=1 \
		$(BIN)/python -m pytest $(DUCKDB_TESTS) --dist worksteal --numprocesses $$(getconf _NPROCESSORS_ONLN)

# Needs PostgreSQL (Debian: postgresql). Each module has servers of its own; most of the time they wait for each other.
test-cluster: install
	sh scripts/pinned-env.sh cluster
	OPENBLAS_NUM_THREADS=1 .venv-cluster/bin/python -m pytest tests/cluster -m cluster --dist loadfile --numprocesses 2

test-vllm: install
	sh scripts/vllm-env.sh
	$(BIN)/python -m pytest tests/vllm -m vllm

bench: install
	$(BIN)/python benchmarks/clients/run.py $(BENCH)
	$(BIN)/python benchmarks/dedup/run.py
	$(BIN)/python benchmarks/endurance/run.py
	$(BIN)/python benchmarks/servers/run.py
	$(BIN)/python benchmarks/warehouse/run.py
	$(BIN)/python benchmarks/many_batches/run.py
	$(BIN)/python benchmarks/many_batches/stages.py
	$(BIN)/python benchmarks/checks/run.py
	$(BIN)/python benchmarks/search/run.py
	$(BIN)/python benchmarks/diversity/run.py
	sh scripts/vllm-env.sh
	$(BIN)/python benchmarks/ceiling/run.py

# Three ratios in three minutes, compared with the page; fails if one fell by more than 15 %.
bench-quick: install
	$(BIN)/python benchmarks/quick/run.py $(BENCH)

bench-gpu: install
	sh scripts/vllm-env.sh
	$(BIN)/python benchmarks/gpu/run.py $(BENCH)

# Figure 10 of the paper and the diversity of its data: make paper FILE=tool_development.jsonl
paper: install
	$(BIN)/python scripts/paper.py "$(FILE)" $(PAPER)

servers: install
	$(BIN)/python scripts/servers.py $(ONLY)

clean:
	find personahub_assets -name '*.nb[ic]' -delete
	rm -rf .venv .venv-cluster .venv-datasets .venv-docs .venv-duckdb2 .venv-vllm .venv-bench $(DEMO_HOME) site
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
