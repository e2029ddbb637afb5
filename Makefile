# Everything is built by the go command; make only knows what belongs together.
# Needs Go (version: see go.mod) and, for the race detector, a C compiler.

SHELL   := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export GOWORK := off

BUILD   := .build
MODFILE := $(BUILD)/go.mod
GO      ?= go
# Native builds use the server that internal/patch makes.
MOD     := -modfile=$(MODFILE)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: patch
patch: ## make the etcd server with the transport hook (.build)
	@$(GO) run ./internal/patch -q

.PHONY: build
build: ## build bin/etcd-dv and bin/raftdv
	@echo "building bin/etcd-dv and bin/raftdv (a first build compiles all of etcd: up to 5 minutes on 2 cores)"
	@$(MAKE) --no-print-directory patch
	@$(GO) build $(MOD) -o bin/ ./cmd/etcd-dv ./cmd/raftdv

.PHONY: demo
demo: build ## start a cluster, kill its leader, check that nothing is lost
	@bin/raftdv demo $(DEMO)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin $(BUILD)
