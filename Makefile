# What can be done here: `make help`. Each target works on a fresh checkout; scripts/need installs
# the programs that are missing, or names them.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/eni-cni
TOOLS := $(CACHE)/tools/bin
IMAGE ?= eni-cni:latest

# The toolchain where rustup puts it, and nft where Debian does, come last: what is in PATH counts.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin:$(TOOLS)

# aws-sdk-ec2 alone takes 6 GB to compile: below 12 GiB nothing may be compiled beside it.
ifneq ($(shell awk '/^MemTotal/ && $$2 < 12 * 1024 * 1024' /proc/meminfo),)
export CARGO_BUILD_JOBS ?= 1
endif

.DEFAULT_GOAL := help
.PHONY: help demo cluster cluster-down test conformance check map bench soak mutants image clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

# Every build is of the whole workspace with what the tests enable (examples are built with that
# too): another choice is another choice of features, with which aws-sdk-ec2 is compiled again.
BUILD := cargo build --quiet --workspace --bins --examples
# Of our crates alone, most of which are programs and have nothing that is public.
DOC := RUSTDOCFLAGS="--deny warnings" cargo doc --quiet --workspace --lib --bins --examples --no-deps \
	--document-private-items
WAIT := echo "building; the first time takes minutes, most of them for aws-sdk-ec2" >&2

demo: ## enable custom networking in a simulated cluster with running pods, with checks (needs root)
	@scripts/need root cargo cc nft
	@$(WAIT)
	@$(BUILD)
	@"$${CARGO_TARGET_DIR:-target}"/debug/demo

cluster: ## a real Kubernetes of two nodes with our DaemonSet, in a simulated VPC; says what to try (needs root)
	@scripts/need root cargo cc nft go iptables runtimes venv enclosures
	@$(WAIT)
	@$(BUILD)
	@scripts/cluster up

cluster-down: ## remove what `make cluster` made
	@scripts/cluster down

# A real Kubernetes where there is Go; KUBERNETES=required makes a failure of it where not.
CLUSTER := if [ "$$KUBERNETES" = required ] || scripts/need go; then scripts/kubernetes >/dev/null; \
	else echo "NOT TESTED: there is no Go 1.25 to build Kubernetes with, so tests/kubernetes is left out" >&2; fi

test: ## run all tests, in network namespaces and with foreign clients (needs root)
	@scripts/need root cargo cc cxx nextest nft ip jq curl venv iptables conntrack plugins cnitool runtimes enclosures
	@$(WAIT)
	$(BUILD)
	@scripts/plugin >/dev/null
	@$(CLUSTER)
	@scripts/fuzz 4
	@setpriv --pdeathsig TERM scripts/test

check: ## format, lints, documentation, licences and sources of dependencies, shape of the repository
	@scripts/need cargo cc deny
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- --deny warnings
	$(DOC)
	cargo deny --locked check bans licenses sources
	cargo test --quiet --package tests --test tidy --test manifests --test requirements

map: ## draw the modules into ARCHITECTURE.md, as the sources have them
	@scripts/need cargo cc
	MAP=write cargo test --quiet --package tests --test tidy -- map::

# Another revision, whose plugin and daemon take part as well: `make bench BASE=HEAD~10`.
BASE ?=
bench: ## measure pods' start and end, a packet's cost, a cluster's calls, the simulated VPC; BASE=REVISION beside it (needs root)
	@scripts/need root cargo cc nft plugins
	cargo bench --quiet --package vpc --bench calls
	cargo run --quiet --package bench --bin cluster-cost
	cargo run --quiet --package bench --bin packet-cost
	@echo "building the daemon for measurement; the first time takes minutes" >&2
	@base=; if [ -n "$(BASE)" ]; then base=$$(scripts/base "$(BASE)") || exit 1; fi; \
		scripts/daemon measure && \
		cargo build --quiet --profile measure --package vpc-sim --package bench --bins && \
		"$${CARGO_TARGET_DIR:-target}"/measure/pod-start "$$(scripts/plugin)" $$base

conformance: ## Kubernetes' own tests of networks on ours, in both modes of kube-proxy and with prefixes; ALL=1 for a night (needs root)
	@scripts/need root cargo cc nft go iptables runtimes venv enclosures images
	@$(WAIT)
	@$(BUILD)
	@scripts/conformance $(MODE)

SECONDS ?= 600
KILLS ?= 200
TOKENS ?= 1500
soak: ## SECONDS=600 each of inputs for every reader and of random histories, KILLS=200 of a real daemon under traffic, TOKENS=1500 seconds of a cluster whose tokens are replaced
	@scripts/need root cargo cc cxx nextest nft ip iptables runtimes enclosures
	scripts/fuzz $(SECONDS)
	SIM_SECONDS=$(SECONDS) cargo test --quiet --package tests --test sim
	$(BUILD)
	KILLS=$(KILLS) scripts/test kills
	@$(CLUSTER)
	TOKENS=$(TOKENS) scripts/test daemons_whose_tokens_are_replaced

mutants: ## change one thing at a time in the crates that decide; which changes no test notices (hours)
	@scripts/need cargo cc mutants
	scripts/mutants $(CRATES)

image: ## build the container image with docker or podman
	@engine=$$(scripts/engine) && set -x && "$$engine" build --tag $(IMAGE) .

clean: ## remove what was built
	@scripts/need cargo
	cargo clean
