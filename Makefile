# Everything is built by the go command; make only knows what belongs together.
# Needs Go (version: see go.mod) and, for the race detector, a C compiler.

SHELL         := /bin/bash
.SHELLFLAGS   := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS     += --no-print-directory

# A workspace around this module would refuse -modfile.
export GOWORK := off

GO    ?= go
BUILD := .build
# Checks manifests, with dependencies that the product must not have.
NESTED := integration/packaging/manifests
# The module file that links the server with the transport hook.
MOD   := -modfile=$(BUILD)/go.mod

# Tests run one package per core; a whole run takes ten minutes on two.
TIMEOUT  ?= 20m
FUZZTIME ?= 20s
RUNS     ?= 40
# The race build of all of etcd costs minutes and finds nothing in a package
# that only parses flags.
NORACE   := github.com/raftdv/dv/cmd/etcd-dv

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: patch
patch: ## make the etcd server with the transport hook (.build)
	@$(GO) run ./internal/patch -q

.PHONY: build
build: ## build bin/etcd-dv and bin/raftdv
	@echo "building bin/etcd-dv and bin/raftdv (the first time all of etcd is compiled: up to 5 minutes on 2 cores)"
	@$(MAKE) patch
	@all=$$($(GO) list -deps $(MOD) ./cmd/etcd-dv ./cmd/raftdv | wc -l); \
	$(GO) build -v $(MOD) -o bin/ ./cmd/etcd-dv ./cmd/raftdv 2>&1 | awk -v all="$$all" \
		'/^[a-zA-Z0-9._\/-]+$$/ { if (++n % 50 == 0) { print "  " n " packages compiled, of at most " all; fflush() } next } { print }'

.PHONY: stock
stock: ## build bin/etcd, stock etcd at the version of the server
	@$(GO) build -o bin/etcd go.etcd.io/etcd/server/v3

.PHONY: demo
demo: build stock ## start a cluster, kill its leader, check that nothing is lost; stock etcd beside it (DEMO=--tls …)
	@bin/raftdv demo $(DEMO)

.PHONY: demo-links
demo-links: build stock ## cut links between members, each in a network namespace; stock etcd beside it; needs root (DEMO=--load=20s …)
	@bin/raftdv demo --links $(DEMO)

.PHONY: etcdctl
etcdctl: ## build bin/etcdctl, etcd's own client, unchanged
	@$(call tool,etcdctl)

.PHONY: etcdutl
etcdutl: ## build bin/etcdutl, etcd's own tool for data folders, unchanged
	@$(call tool,etcdutl)

# One of etcd's own tools at the version of the server, with a module file of its own.
tool = v=$$($(GO) list -m -f '{{.Version}}' go.etcd.io/etcd/server/v3); m=go.etcd.io/etcd/$(1)/v3; \
	$(GO) run ./internal/patch -q -out $(BUILD)/$(1).mod -require "$$m@$$v" && $(GO) build -modfile=$(BUILD)/$(1).mod -o bin/$(1) "$$m"

# Where make install puts things; DESTDIR stands in front of all of it.
PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
UNITDIR ?= $(PREFIX)/lib/systemd/system
DOCDIR  ?= $(PREFIX)/share/doc/raftdv
# Where make build put the programs.
BIN     ?= bin
UNITS   := docs/examples/systemd

# The licenses of what is linked into these go with them.
NOTICES := $(BUILD)/go.mod=./cmd/etcd-dv $(BUILD)/go.mod=./cmd/raftdv

.PHONY: notices
notices: patch ## write bin/THIRD-PARTY: the licenses of what is linked in, for a package
	@$(GO) run ./internal/notices -o "$(BIN)/THIRD-PARTY" $(NOTICES)

.PHONY: install
install: ## install what make build made (PREFIX=/usr/local BINDIR=… DESTDIR=…)
	@for p in etcd-dv raftdv; do [ -x "$(BIN)/$$p" ] || { echo "install: $(BIN)/$$p is not there: run make build first" >&2; exit 1; }; done
	install -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(UNITDIR)" "$(DESTDIR)$(DOCDIR)/etcd.service.d"
	install -m 755 "$(BIN)/etcd-dv" "$(BIN)/raftdv" "$(DESTDIR)$(BINDIR)/"
	install -m 644 LICENSE $(UNITS)/etcd-dv.default "$(DESTDIR)$(DOCDIR)/"
	@[ ! -e "$(BIN)/THIRD-PARTY" ] || install -m 644 "$(BIN)/THIRD-PARTY" "$(DESTDIR)$(DOCDIR)/"
	sed 's|/usr/local/bin/|$(BINDIR)/|' $(UNITS)/etcd-dv.service | install -m 644 /dev/stdin "$(DESTDIR)$(UNITDIR)/etcd-dv.service"
	sed 's|/usr/local/bin/|$(BINDIR)/|' $(UNITS)/etcd.service.d/etcd-dv.conf | install -m 644 /dev/stdin "$(DESTDIR)$(DOCDIR)/etcd.service.d/etcd-dv.conf"

.PHONY: uninstall
uninstall: ## remove what make install put there, with the same variables; settings and data stay
	rm -f "$(DESTDIR)$(BINDIR)/etcd-dv" "$(DESTDIR)$(BINDIR)/raftdv" "$(DESTDIR)$(UNITDIR)/etcd-dv.service"
	rm -f "$(DESTDIR)$(DOCDIR)/LICENSE" "$(DESTDIR)$(DOCDIR)/THIRD-PARTY" "$(DESTDIR)$(DOCDIR)/etcd-dv.default" "$(DESTDIR)$(DOCDIR)/etcd.service.d/etcd-dv.conf"
	@for d in "$(DESTDIR)$(DOCDIR)/etcd.service.d" "$(DESTDIR)$(DOCDIR)"; do [ ! -d "$$d" ] || rmdir --ignore-fail-on-non-empty "$$d"; done

.PHONY: package-test
package-test: ## build the image and run clusters in it, and all other tests of what people install
	@RAFTDV_PACKAGE=full $(GO) test -v -count=1 -timeout $(TIMEOUT) ./integration/packaging

.PHONY: test
test: patch ## run all tests, with the race detector; skips are listed in the end
	@echo "testing (the first time everything is compiled: up to 10 minutes on 2 cores)"
	@race=-race; \
	if [ "$$($(GO) env CGO_ENABLED)" != 1 ] || ! command -v "$$($(GO) env CC)" >/dev/null; then \
		race=; echo "WARNING: no C compiler: testing WITHOUT the race detector (install gcc)"; \
	fi; \
	pkgs=$$($(GO) list $(MOD) ./... | grep -vx '$(NORACE)'); \
	( set +e; \
		$(GO) test -json $(MOD) $$race -timeout $(TIMEOUT) $(TESTFLAGS) $$pkgs; a=$$?; \
		$(GO) test -json $(MOD) -timeout $(TIMEOUT) $(TESTFLAGS) $(NORACE) || a=1; \
		$(GO) test -json $(MOD) -timeout $(TIMEOUT) $(TESTFLAGS) -run '^TestNoRace' $$($(GO) list $(MOD) ./fabric/...) && exit $$a \
	) | $(GO) run ./internal/testsum -log $(BUILD)/test.log $(TESTSUM)

.PHONY: check
check: patch ## formatting, vet, go fix, staticcheck, generated code, the rules of internal/tidy
	@echo "rules"; $(GO) test -count=1 ./internal/tidy
	@echo "go vet"; $(GO) vet $(MOD) ./...; $(GO) vet -C $(NESTED) .
	@echo "go fix"; diff=$$($(GO) fix -diff $(MOD) ./...) || true; \
	if [ -n "$$diff" ]; then echo "$$diff"; echo "run go fix ./..."; exit 1; fi
	@echo "staticcheck"; $(GO) tool staticcheck -checks inherit,-ST1005 ./... # errors of a Config start with the name of its field
	@cd $(NESTED) && $(GO) tool -modfile=$(CURDIR)/go.mod staticcheck .
	@echo "generated code"; before=$$($(generated)); $(GO) generate $(MOD) ./...; \
	if [ "$$before" != "$$($(generated))" ]; then echo "generated code is not up to date: commit what go generate changed"; exit 1; fi

# Names and checksums of all generated files.
generated = { grep -rlE --include='*.go' --include='*.o' --exclude-dir=$(BUILD) '^// Code generated .* DO NOT EDIT' . || true; } | sort | xargs -r sha256sum

.PHONY: fuzz
fuzz: patch ## run every fuzz test for FUZZTIME (20s)
	@grep -rnoE --include='*_test.go' --exclude-dir=$(BUILD) '^func Fuzz[A-Za-z0-9_]*' . | sed -E 's|/[^/]*:[0-9]+:func | |' | sort | \
	while read -r dir name; do \
		echo "$$dir $$name"; $(GO) test $(MOD) -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null; \
	done

.PHONY: bench
bench: build ## the transport against rafthttp, side by side (BENCH='--members 3 --json')
	@bin/raftdv bench transport $(BENCH)

.PHONY: bench-raft
bench-raft: build ## raft groups on the transport and on rafthttp, side by side (BENCH='--in-flight 1,64')
	@bin/raftdv bench raft $(BENCH)

.PHONY: bench-etcd
bench-etcd: build ## etcd-dv against stock etcd, side by side (BENCH='--members 3 --clients 32')
	@bin/raftdv bench etcd $(BENCH)

.PHONY: bench-failover
bench-failover: build ## from a leader's fault to the first write, beside stock etcd (BENCH='--fault kill,stop --trials 10')
	@bin/raftdv bench failover $(BENCH)

SPEC ?= docs/examples/three-rounds.yaml

.PHONY: storm
storm: build ## an experiment on elections, simulated: docs/storm.md (SPEC=docs/examples/cloudflare-2020.yaml STORM='--jobs 1')
	@bin/raftdv storm $(SPEC) $(STORM)

# Results of other commits are not continued: each has its file.
SEEDS ?= 1000
FIRST ?= 1
SIM_RESULTS ?= $(BUILD)/sim-$(ELECTIONS)-$(FIRST).jsonl
ELECTIONS ?= on

.PHONY: sim
sim: build ## clusters in virtual time with faults, checked; resumable (SEEDS=1000 FIRST=1 ELECTIONS=on SIM='--members 5')
	@bin/raftdv sim --seed $(FIRST) --seeds $(SEEDS) --members 3,5,7 --elections=$(ELECTIONS) --results $(SIM_RESULTS) $(SIM)

TRIALS ?= 6000
ELECTION_RESULTS ?= $(BUILD)/elections-$(FIRST).jsonl

.PHONY: elections
elections: ## elections of 3 to 9 members with failing nominees, checked; resumable (TRIALS=6000 FIRST=1)
	@mkdir -p $(BUILD); $(GO) test -count=1 -v -timeout 0 -run '^TestCampaign$$' ./raftdv/election \
		-seed $(FIRST) -elections $(TRIALS) -results "$(abspath $(ELECTION_RESULTS))"

.PHONY: invariants
invariants: ## a line for each invariant, from seeds and planted bugs that it runs now (INVARIANT_SEEDS=20 ELECTIONS=on)
	@$(GO) test -count=1 -v -timeout $(TIMEOUT) -run '^TestInvariants$$' ./integration/simulate -seeds $(INVARIANT_SEEDS) -elections $(ELECTIONS) | \
		awk '/ in [0-9]+ seeds |replay with|not noticed|^panic|^(FAIL|ok)/'

INVARIANT_SEEDS ?= 20
WORLDS ?= 20000
STATES ?= 20000000

.PHONY: explore
explore: ## every order of events of three members' views, and random worlds of 3 to 7 (STATES=20000000 WORLDS=20000 FIRST=1; hours)
	@$(GO) test -count=1 -v -timeout 0 -run '^Test(Explore|RandomWorlds)$$' ./barrier -deep -states $(STATES) -worlds $(WORLDS) -world $(FIRST)

STORMS ?= 1000

.PHONY: storms
storms: ## groups of 2 to 7 in simulated storms, each seed checked (STORMS=1000 FIRST=1; a second to ten for each seed)
	@$(GO) test -count=1 -v -timeout 0 -run '^TestStorms$$' ./ordered -storms $(STORMS) -storm $(FIRST)

.PHONY: etcd-suites
etcd-suites: ## etcd's own tests on stock etcd and etcd-dv, resumable (SUITES='--shard 1/2 --jobs 2'; hours)
	@$(GO) run ./integration/suites $(SUITES)

.PHONY: etcd-suites-smoke
etcd-suites-smoke: ## those that say most about the transport: minutes
	@$(GO) run ./integration/suites --preset smoke $(SUITES)

.PHONY: robustness
robustness: ## etcd's robustness tests against dv, resumable (RUNS=40)
	@$(GO) run ./integration/suites --suite robustness --binary dv --runs $(RUNS) $(SUITES)

.PHONY: rolling-swap
rolling-swap: ## members from stock to dv and back under load, checked with etcd's model
	@mkdir -p $(BUILD); $(GO) run ./integration/suites --prepare --suite e2e,validate >$(BUILD)/swap.json
	@RAFTDV_SUITES_PREPARED=$(CURDIR)/$(BUILD)/swap.json $(GO) test -v -count=1 -timeout $(TIMEOUT) -run TestRollingSwap ./integration/swap

.PHONY: clean
clean: ## remove what was built
	rm -rf bin $(BUILD)
