# The commands of the house. `make` alone explains them.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# rustup puts cargo here and a terminal opened before that does not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# One selection of packages for every build: another one would resolve other features and compile
# the dependencies a second time.
ALL := --workspace --locked
MILLRACE := $(or $(CARGO_TARGET_DIR),target)/debug/millrace

# Most tests wait, for a lease, a process or a database: more of them at once than cores end the gate sooner.
export RUST_TEST_THREADS ?= 5

.PHONY: help setup build up demo down reset test check check-slim bench bench-peers faults chaos sqlx

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing, by apt only; does nothing when all is there
	@.ci/setup

build: setup
	@cargo build $(ALL) --bin millrace

up: build ## start everything on a private Postgres; ctrl-c stops it
	@exec $(MILLRACE) up

demo: build ## tell the whole story on the running system; fails if any part is untrue
	@exec $(MILLRACE) demo

# These two must work when the code does not build, so an executable that is there is good enough; and
# where there is neither one nor a folder of data, nothing need be compiled to know that.
HOMELESS = [ ! -x $(MILLRACE) ] && [ ! -d .millrace ] && [ -z "$$MILLRACE_HOME" ]
NOTHING = echo "nothing runs and nothing is kept: no \`up\` began in this clone"

down: ## stop what `make up` started, from another terminal
	@if $(HOMELESS); then $(NOTHING); exit 0; fi; \
	[ -x $(MILLRACE) ] || $(MAKE) --no-print-directory build && exec $(MILLRACE) down

reset: ## stop everything and delete this clone's data, keys included
	@if $(HOMELESS); then $(NOTHING); exit 0; fi; \
	[ -x $(MILLRACE) ] || $(MAKE) --no-print-directory build && exec $(MILLRACE) reset --yes

test: setup ## the whole gate
	@.ci/guests
	@.ci/prometheus
	@.ci/npm graphql-http graphql-http the audit of GraphQL over HTTP
	@.ci/npm socketio socket.io-client the client of Socket.IO
	@.ci/npm graphql-live graphql-ws the clients of GraphQL subscriptions
	cargo fmt --all --check
	.ci/sqlx check
	cargo clippy $(ALL) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc $(ALL) --no-deps
	cargo build $(ALL) --bin millrace
	cargo test $(ALL) --no-fail-fast

check: setup ## the quick part of the gate: format and lints
	cargo fmt --all --check
	cargo clippy $(ALL) --all-targets -- -D warnings

# A build of its own, with other features, so it is no part of the gate; there a test of the dependencies says
# the same. It has a folder of its own, or the next build would begin anew.
SLIM := $(or $(CARGO_TARGET_DIR),target)/slim

check-slim: ## build without libvirt, and see that nothing of it is linked
	cargo build -p cli --no-default-features --locked --bin millrace --target-dir $(SLIM)
	@linked="$$(ldd $(SLIM)/debug/millrace)" && grep -q libc.so <<<"$$linked" || { echo "ldd tells nothing"; exit 1; }; \
	if grep libvirt <<<"$$linked"; then echo "built without libvirt, and linked with it"; exit 1; fi; \
	echo "no libvirt in $(SLIM)/debug/millrace"

# The executable is measured too, and belongs to another package than the measurements.
bench: setup ## measure on a durable private Postgres, release build
	cargo build $(ALL) --release --bin millrace
	cargo bench $(ALL) --bench figures

bench-peers: setup ## the same beside other job systems, which npm, pip and cargo fetch; BENCH_SHORT=1 for a look
	@.ci/peers
	cargo bench $(ALL) --bench peers

faults: build ## break everything that may break under load, and print what became of the jobs; an hour at most
	@.ci/faketime
	@.ci/older
	@.ci/crashing
	cargo test $(ALL) --test faults -- --all

chaos: build ## make every alert fire and clear in a real Prometheus and Alertmanager; 25 minutes
	@.ci/prometheus
	@grafana/chaos --millrace $(MILLRACE)

sqlx: setup ## renew the cache of checked queries after a change of SQL or schema
	.ci/sqlx write
