# Everything that is done with this repository has a target here. `make help` lists them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/coordd/coordd/internal/daemon.Version=$(VERSION)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

# Seeds of the simulator in `make sim`; the first one and how many.
SEED  ?= 1
SEEDS ?= 2000
# How long `make sim-long` goes on.
SIM_MINUTES ?= 30
# Length of one fuzz target in `make fuzz`, and of the end-to-end run.
FUZZTIME ?= 20s
FUZZJOBS ?= $(shell nproc)
E2E_DURATION ?= 60s
# How long three processes hammer a mutex and a read/write lock.
E2E_HAMMER ?= 5s
# `make test-disk`: power cuts of one node, of two of three, and of all at once; corruptions of a stopped node's
# directory; failed syncs; the seed, 0 for a random one; whether a disk is filled, and stalled.
DISK_CUTS ?= 20
DISK_CUTS_MAJORITY ?= 5
DISK_CUTS_ALL ?= 5
DISK_CORRUPTIONS ?= 80
DISK_SYNC_ERRORS ?= 6
DISK_SEED ?= 0
DISK_FULL ?= true
DISK_STALL ?= true
# Rounds over every fault in `make test-net`, the seed of their order (0: a random one), and a limit of time (0s: none).
NET_ROUNDS ?= 1
NET_SEED ?= 0
NET_BUDGET ?= 0s
# Random commands that the machine and its model are given in `make test-long`.
MODEL_COMMANDS ?= 1000000
# How long the simulator searches for one guard in `make canaries`.
CANARY_LIMIT ?= 10m
# Where long runs add what they covered; empty: nowhere.
COVERED ?= $(CURDIR)/docs/testing.md

# Sizes of the measured runs in `make test-load`.
LOAD_SESSIONS ?= 10000
LOAD_LOCKS ?= 1000000
LOAD_ROUNDS ?= 3
LOAD_BEHIND ?= 1000000
LOAD_COMMANDS ?= 10000000
LOAD_CONNECTIONS ?= 100
LOAD_JOINED ?= 1000
LOAD_KEEP ?= 30s
LOAD_STORM ?= 20000

.PHONY: help build test test-long test-e2e test-disk test-net test-load lint generate bench fuzz sim sim-long sim-same canaries dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the static binary bin/coordd
	$(BUILD) -o bin/coordd ./cmd/coordd

test: ## vet, all tests that need no privileges with the race detector, 300 simulated seeds
	$(GO) vet ./...
	$(GO) test -race -timeout 15m ./...
	GOGC=400 $(GO) test -count=1 -timeout 15m -run '^TestSeeds$$' ./pkg/raft/sim -args -sim.seeds=300
	$(GO) run ./internal/canary/run -fast

test-long: ## the long forms: end to end, power cuts, measured load, ten thousand simulated seeds, fuzzing
	$(MAKE) test-e2e E2E_DURATION=30m E2E_HAMMER=3m
	$(MAKE) test-disk DISK_CUTS=60 DISK_CUTS_MAJORITY=20 DISK_CUTS_ALL=20 DISK_CORRUPTIONS=400
	$(MAKE) test-net NET_ROUNDS=3
	$(MAKE) test-load
	COORDD_COVERED='$(COVERED)' $(GO) test -count=1 -timeout 60m -v -run '^TestMachineIsTheModelOfAllPrimitives$$' ./internal/machine -args -machine.commands=$(MODEL_COMMANDS)
	$(MAKE) sim SEEDS=10000
	$(MAKE) sim-same SEEDS=1000
	$(MAKE) sim-long
	$(MAKE) fuzz FUZZTIME=60s

test-e2e: ## three real processes, 16 clients, a random node killed every 4 s, history checked; sqlite3's fences
	$(GO) test -tags e2e -count=1 -timeout 90m -v -run '^TestEndToEnd' ./internal/e2e -args -e2e.duration=$(E2E_DURATION) -e2e.hammer=$(E2E_HAMMER)
	$(GO) test -tags e2e -count=1 -run '^TestDocumented' ./pkg/client/fence

test-disk: ## power cuts, damage, a full, a failing and a stalled disk under real nodes (root, mkfs.ext4, strace)
	COORDD_COVERED=$(COVERED) internal/e2e/disk.sh $(GO) test -tags disk -count=1 -timeout 180m -v -run '^TestDisk$$' ./internal/e2e \
	  -args -disk.seed=$(DISK_SEED) -disk.cuts=$(DISK_CUTS) -disk.cuts-majority=$(DISK_CUTS_MAJORITY) -disk.cuts-all=$(DISK_CUTS_ALL) \
	  -disk.corruptions=$(DISK_CORRUPTIONS) -disk.sync-errors=$(DISK_SYNC_ERRORS) -disk.full=$(DISK_FULL) -disk.stall=$(DISK_STALL)

test-net: ## partitions in network namespaces, and a proxy that breaks what it carries (root, ip, nft)
	$(GO) test -tags net -c -o bin/net.test ./internal/e2e
	cd internal/e2e && COORDD_COVERED=$(COVERED) ../../bin/net.test -test.v -test.timeout 170m -test.run '^TestNet' \
	  -net.rounds=$(NET_ROUNDS) -net.seed=$(NET_SEED) -net.budget=$(NET_BUDGET)

test-load: ## a large state, a follower far behind, very many commands and sessions, a storm of expiries: figures, and nothing lost
	$(GO) test -tags load -count=1 -timeout 90m -v -run '^TestLoad' ./internal/service -args -load.sessions=$(LOAD_SESSIONS) \
	  -load.locks=$(LOAD_LOCKS) -load.rounds=$(LOAD_ROUNDS) -load.behind=$(LOAD_BEHIND) -load.commands=$(LOAD_COMMANDS)
	$(GO) test -tags load -count=1 -timeout 30m -v -run '^TestLoad' ./internal/e2e -args -load.connections=$(LOAD_CONNECTIONS) \
	  -load.joined=$(LOAD_JOINED) -load.keep=$(LOAD_KEEP) -load.storm=$(LOAD_STORM)

canaries: ## take every guard out of the product, one at a time: the simulator or a named test has to notice each
	COORDD_COVERED=$(COVERED) $(GO) run ./internal/canary/run -record -limit $(CANARY_LIMIT)

sim: ## run SEEDS simulated clusters from SEED on
	$(GO) test -count=1 -timeout 90m -v -run '^TestSeeds$$' ./pkg/raft/sim -args -sim.seed=$(SEED) -sim.seeds=$(SEEDS)

sim-long: ## simulated hours for SIM_MINUTES on one core, from where the last such run ended
	COORDD_COVERED='$(COVERED)' GOMAXPROCS=1 GOGC=400 $(GO) test -count=1 -timeout 24h -v -run '^TestLong$$' ./pkg/raft/sim -args -sim.minutes=$(SIM_MINUTES)

sim-same: ## run SEEDS simulated clusters from SEED on twice: the same seed has to give the same trace
	$(GO) test -count=1 -timeout 90m -v -run '^TestTheSameSeedIsTheSameRun$$' ./pkg/raft/sim -args -sim.seed=$(SEED) -sim.same=$(SEEDS)

lint: ## gofmt, vet (all tags), staticcheck, govulncheck, generated code up to date
	@test -z "$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))" || { gofmt -l $$(git ls-files -co --exclude-standard '*.go'); echo 'run gofmt'; exit 1; }
	$(GO) vet -tags 'e2e disk net load canary' ./...
	$(GO) tool staticcheck -tags 'e2e,disk,net,load,canary' ./...
	@out=$$($(GO) tool govulncheck ./... 2>&1); code=$$?; echo "$$out"; \
	case "$$out" in *'fetching vulnerabilities'*) echo 'govulncheck DID NOT RUN: its database can not be reached from here'; code=0;; esac; exit $$code

generate: ## regenerate the protobuf code (needs protoc)
	mkdir -p .tools && $(GO) build -o .tools/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
	cd api/coordd/v1 && PATH="$(CURDIR)/.tools:$$PATH" protoc -I . --go_out=. --go_opt=paths=source_relative coordd.proto

bench: ## the benchmarks of the parts
	$(GO) test -run '^$$' -bench . -benchmem ./pkg/raft/... ./pkg/transport/... ./internal/machine/... ./pkg/idgen/... ./pkg/client/...

fuzz: ## each fuzz target for FUZZTIME, FUZZJOBS at a time
	COORDD_COVERED='$(CURDIR)/docs/testing.md' $(GO) run ./internal/fuzzall -time $(FUZZTIME) -jobs $(FUZZJOBS)

dist: ## reproducible static binaries with checksums in dist/
	@rm -rf dist && mkdir -p dist
	@for a in amd64 arm64; do GOOS=linux GOARCH=$$a $(BUILD) -o dist/coordd-linux-$$a ./cmd/coordd || exit 1; done
	@cd dist && sha256sum coordd-* > SHA256SUMS && cat SHA256SUMS

clean: ## remove what the other targets made
	rm -rf bin dist .tools
