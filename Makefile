# The doors of the house. CI goes through the same ones (.ci/run).
#
#   make demo            a throw-away PostgreSQL: back up, damage, restore, compare
#   make test            every test; installs what the tests need and says so
#   make quick           the tests without the slow ones, under two minutes
#   make lint            format, clippy, house rules, licences, the book
#   make bench           the figures of docs/benchmarks.md
#   make book            the book, into target/book
#   make nightly         what takes too long for every change: rustic as a third judge, 10,000 worlds, 200 GB, every kill, 200 rounds of a cluster over all majors
#   make install-tools   what the other doors would install on their way
#
# FRUGAL=1 keeps a door from installing anything: what is missing is then named and left out.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# What `make bench` measures; `make bench SUITE=tree` takes one of the suites that benches/run.py lists.
SUITE ?= all
export CARGO_TERM_COLOR ?= auto
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help demo test quick lint bench book nightly install-tools build-needs demo-needs test-needs

help:
	@sed -n 's/^#   make/  make/p' Makefile

demo: demo-needs
	$(CARGO) run --release --locked --package mainstay -- demo

test: test-needs
	@scripts/install-tool.sh cargo-nextest
	@scripts/run-tests.sh default

quick: test-needs
	@scripts/install-tool.sh cargo-nextest
	@scripts/run-tests.sh quick

# Debian has no mdbook, and building it takes minutes: who has it (`make install-tools`) builds the book here. Links and the list
# of pages are judged without it, by the house rules.
lint: build-needs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- --deny warnings
	$(CARGO) test --locked --quiet --package tidy
	@scripts/install-tool.sh cargo-deny
	@scripts/when-there.sh cargo-deny $(CARGO) deny --log-level error check bans licenses sources
	@scripts/when-there.sh mdbook mdbook build docs

bench: test-needs
	$(CARGO) build --release --locked --package mainstay
	$(CARGO) build --release --locked --package repo --package engine --package testkit --examples
	python3 benches/run.py $(SUITE)

nightly: test-needs
	$(CARGO) build --release --locked --package mainstay
	scripts/judge-with-rustic.sh
	scripts/two-hundred-gigabytes.sh
	MAINSTAY_TEST_EVERY=1 $(CARGO) nextest run --workspace --locked -E 'binary(slow_fire)'
	MAINSTAY_TEST_FIRST=$$(date +%s)0000 MAINSTAY_TEST_SEEDS=10000 $(CARGO) test --locked --package engine --test slow_world -- --exact --nocapture \
		no_order_of_calls_loses_what_was_acknowledged_pitfall_20
	MAINSTAY_TEST_PG_DIRS=$$(scripts/fetch-postgres.sh target/postgres-more) \
		MAINSTAY_TEST_ROUNDS=200 MAINSTAY_TEST_SEED=$$(date +%Y%m%d) $(CARGO) test --locked --package mainstay \
		--test slow_cluster_world -- --exact --nocapture \
		c21_whatever_happens_to_a_cluster_each_backup_comes_back_to_each_point

book:
	@scripts/install-tool.sh mdbook
	mdbook build docs
	@echo "the book: target/book/index.html"

install-tools: test-needs
	@scripts/install-tool.sh cargo-nextest
	@scripts/install-tool.sh cargo-deny
	@scripts/install-tool.sh mdbook

build-needs:
	@scripts/install-test-needs.sh build

demo-needs:
	@scripts/install-test-needs.sh demo

test-needs:
	@scripts/install-test-needs.sh
