# Everything runs inside .venv; the first target that needs it makes it.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS := serving,training,operator,monitoring,kserve,telemetry,dev

# Image and cluster. BUILD and PUSH are commands before an image's name; RUN_IN runs a client in the cluster's network.
IMAGE ?= localhost/tastemaker:dev
BUILD ?= buildah build --format docker --layers
PUSH ?= buildah push
TAG ?= buildah tag
RUN_IN ?=
MONITORING ?= monitoring

.PHONY: install fmt lint test verify-chart cluster-test image e2e chaos demo fuzz bench verify clean

install: .venv/.installed  ## make .venv and install Tastemaker into it

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tastemaker needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "Python's venv module is missing: apt-get install python3-venv"; exit 2; }
	@echo "Installing into .venv (two to four minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: install  ## import the sample, train, serve on http://127.0.0.1:8000, print a slate
	@$(BIN)/tastemaker demo

test: install  ## every test; those that need a cluster run where KUBECONFIG names one
	$(BIN)/pytest

lint: install  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fmt: install
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

verify-chart: install  ## helm lint, every scenario against the schemas of Kubernetes 1.31-1.37, the policies
	@command -v helm > /dev/null || { echo "helm is not on the PATH: https://helm.sh/docs/intro/install"; exit 2; }
	for scenario in helm/tastemaker/ci/*-values.yaml; do helm lint --quiet helm/tastemaker --values $$scenario || exit 1; done
	$(BIN)/pytest tests/helm

cluster-test: install  ## the operator on the API server of KUBECONFIG
	$(BIN)/pytest tests/cluster

image:  ## build the image IMAGE
	$(BUILD) -t $(IMAGE) .

e2e: install image  ## the whole life of an installation on the cluster of KUBECONFIG, under load (25 minutes)
	$(PUSH) $(IMAGE)
	$(TAG) $(IMAGE) $(IMAGE)-next
	$(PUSH) $(IMAGE)-next
	$(BIN)/python -m tests.e2e.rehearsal --image $(IMAGE) --upgrade-image $(IMAGE)-next --run-in "$(RUN_IN)" --monitoring "$(MONITORING)"

chaos: install  ## break and mend each dependency of the edge under load; print which steps of the ladder served (5 to 10 minutes)
	$(BIN)/python -m tests.chaos.rehearsal

fuzz: install  ## 10,000 requests made up from the OpenAPI document: no 5xx, no undocumented answer (minutes)
	FUZZ_CASES=10000 $(BIN)/pytest -s tests/serving/edge/test_contract.py

bench: install  ## every benchmark; each prints a ratio against a baseline of the same run
	$(BIN)/tastemaker bench serve --requests 2000 --concurrency 32
	$(BIN)/tastemaker bench serve --requests 3000 --concurrency 64 --items 50000 --dim 256
	$(BIN)/tastemaker bench freshness
	$(BIN)/tastemaker bench ingest
	$(BIN)/tastemaker bench train

verify: lint test  ## what must hold before a commit

clean:  ## forget the local state, keep the environment
	rm -rf .tastemaker
