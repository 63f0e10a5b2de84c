# The tasks of this project; `.ci/run` runs `make ci`. Only a Rust toolchain and, for `make tools`, apt are needed.

CARGO ?= cargo
# Seconds that each fuzz target runs in `make fuzz`, rounds of `make faults`, requests of `make route-fuzz`, schedules of
# `make simulate`, minutes of `make soak`.
FUZZ_SECONDS ?= 600
ROUNDS ?= 200
SHARED_ROUNDS ?= 5
REQUESTS ?= 1000000
SCHEDULES ?= 1000000
MUTANTS ?= 200
RESTARTS ?= 50
MINUTES ?= 30

# cargo-deny is built once and kept; the dev profile builds in half of the time.
DENY_VERSION := 0.20.2
DENY := target/tools/bin/cargo-deny
FUZZ_TARGETS := facts observer frames routes config admin replies

.PHONY: help tools test otlp fmt clippy doc deny bench-smoke fuzz-smoke ci bench fuzz faults simulate alerts sslyze slow soak large litellm mutants conformance route-fuzz demo

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

tools: ## Install what the tests need: Python, Node and the SDKs (apt only for what is missing)
	@tests/clients/tools.sh

test: tools otlp ## The whole test suite
	$(CARGO) test --locked

otlp: ## The export of traces alone
	$(CARGO) test --locked --features otlp --test otlp

fmt: ## Is everything formatted?
	$(CARGO) fmt --check

clippy: ## Lints, as errors
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings

doc: ## The documentation, with every broken link an error
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

$(DENY):
	$(CARGO) install cargo-deny@$(DENY_VERSION) --locked --debug --root target/tools

# Advisories are left out: their database is a git repository of its own, and a build must not fail because it is not
# reachable. Where it is, `target/tools/bin/cargo-deny check advisories` reads it.
deny: $(DENY) ## Licences, banned crates, sources
	$(DENY) --locked check licenses bans sources

bench-smoke: ## Every benchmark once, unmeasured
	$(CARGO) test --locked --benches -- --test

ci: fmt clippy doc test deny bench-smoke ## Everything that must pass, in this order

fuzz-smoke: ## Each fuzz target for 30 seconds (nightly toolchain, cargo-fuzz; 4 minutes once they are built)
	$(MAKE) fuzz FUZZ_SECONDS=30

# Without a sanitizer: no code of ours is unsafe, and a panic is seen all the same.
fuzz: ## Each fuzz target for FUZZ_SECONDS (600)
	set -e; for target in $(FUZZ_TARGETS); do \
	    mkdir -p fuzz/corpus/$$target; \
	    $(CARGO) +nightly fuzz run -s none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(FUZZ_SECONDS); \
	done

bench: ## The benchmarks, measured (minutes)
	$(CARGO) bench --locked --benches

faults: simulate ## What breaks things for long: simulated schedules, a shared store SHARED_ROUNDS (5) times, ROUNDS (200) kills, RESTARTS (50)
	GRATIS_SHARED_ROUNDS=$(SHARED_ROUNDS) $(CARGO) test --locked --test it -- --nocapture shared_faults shared_lost
	$(CARGO) build --release --locked
	tests/campaigns/kill.py --gratis target/release/gratis --rounds $(ROUNDS)
	GRATIS_RESTARTS=$(RESTARTS) $(CARGO) test --locked --test it f_lif_3 -- --nocapture

simulate: ## SCHEDULES (1000000) of the deterministic simulation (minutes); GRATIS_SEED=n runs one and shows it
	GRATIS_SCHEDULES=$(SCHEDULES) $(CARGO) test --locked --profile perf --test simulate -- --nocapture

alerts: ## The alert rules, read by promtool (apt: prometheus)
	promtool check rules config/deploy/alerts.yaml

sslyze: ## The TLS side by sslyze (PyPI)
	$(CARGO) build --release --locked
	tests/campaigns/tls.sh target/release/gratis

slow: ## 10,000 slow connections beside good ones (apt: slowhttptest)
	$(CARGO) build --release --locked
	tests/campaigns/slow.py --gratis target/release/gratis

soak: ## MINUTES (30) at half of what this machine does: memory stays, and the ledgers agree
	$(CARGO) build --release --locked
	tests/campaigns/soak.py --gratis target/release/gratis --minutes $(MINUTES)

litellm: ## LiteLLM beside us on the same bursts, with 20,000 tokens left (PyPI)
	test -x target/litellm-venv/bin/litellm || { python3 -m venv target/litellm-venv && \
	    target/litellm-venv/bin/pip install --quiet 'litellm[proxy]'; }
	$(CARGO) build --release --locked
	tests/campaigns/beside_litellm.py --gratis target/release/gratis

large: ## 2,000 clients that each send 10 MiB at once to a process with 256 MiB
	$(CARGO) build --release --locked
	tests/campaigns/large.py --gratis target/release/gratis

mutants: ## MUTANTS (200) mutants of the rules and the dialects, a sample by its seed: 95 in 100 are caught (hours)
	$(CARGO) mutants --version >/dev/null 2>&1 || $(CARGO) install cargo-mutants --locked
	tests/campaigns/mutants.py --count $(MUTANTS)

conformance: ## 100,000 random commands for each store, compared with the rules (minutes)
	GRATIS_CONFORMANCE=100000 $(CARGO) test --locked --test it store_conformance -- --nocapture

route-fuzz: ## REQUESTS (1000000) mutated requests: none reaches the upstream without a hold (7 minutes)
	GRATIS_FUZZ_REQUESTS=$(REQUESTS) $(CARGO) test --locked --test it route_fuzz -- --nocapture

demo: ## The whole product on this machine alone
	$(CARGO) run --release --locked -- demo
