# The commands of this project. `make` alone says which there are.

PORT ?= 8081
DATA_DIR ?= solera-data

.PHONY: help run run-kafka run-dcs test hostile nightly chaos instructions figures dist deps deps-tests fmt

help:
	@echo 'make run      builds what is missing and starts Solera on this machine (PORT=8081, DATA_DIR=solera-data)'
	@echo 'make run-kafka  the same on Kafka: one broker from its jars, two nodes (PORT=8081, KAFKA_PORT=19092)'
	@echo 'make run-dcs  two data centres on two brokers with MirrorMaker between them, two nodes each (8081 to 8084)'
	@echo 'make test     checks everything that CI checks, with the minutes of each step'
	@echo 'make nightly  kills the program 5,000 times, runs 100,000 seeds of the simulation, searches larger models, fails more disks and clocks'
	@echo 'make chaos    two data centres on real Kafka and MirrorMaker under every fault, 10,000 deletes under random cuts, half an hour'
	@echo 'make figures  measures the figures of docs/benchmarks.md, over an hour (FIGURES="kafka-post kafka-get --small" for less)'
	@echo 'make instructions  counts those of a GET, a POST and an applied event, and compares (RECORD=1 writes them down)'
	@echo 'make hostile  slow clients and a fuzzer of others against the program, about three minutes'
	@echo 'make fmt      formats the code'
	@echo 'make dist     builds a release tarball with checksums and a bill of materials in dist/'
	@echo 'make deps     installs the system packages that a build needs'

run: deps
	@scripts/run.sh '$(PORT)' '$(DATA_DIR)'

run-kafka: deps
	@scripts/run-kafka.sh '$(PORT)' '$(DATA_DIR)-kafka'

run-dcs: deps
	@scripts/run-dcs.sh '$(DATA_DIR)-dcs'

test: deps-tests
	@scripts/test.sh

nightly: deps-tests
	SOLERA_KILLS=5000 SOLERA_SIM_SEEDS=100000 SOLERA_TURMOIL_SEEDS=20000 \
		cargo test --profile ci --workspace --locked --test solera -- --nocapture chaos:: sim:: turmoil::
	SOLERA_MODEL=large cargo test --profile ci --workspace --locked --test solera -- --nocapture --test-threads 1 model::
	SOLERA_FAULTS=all cargo test --profile ci --workspace --locked --test solera -- --nocapture --test-threads 1 faults::

chaos: deps-tests
	@scripts/kafka-fetch.sh
	SOLERA_CHAOS=all cargo test --profile ci --workspace --locked --test solera -- --nocapture two_dcs::

figures: deps
	@scripts/figures.sh $(FIGURES)

instructions: deps
	@scripts/instructions.sh $(if $(filter 1,$(RECORD)),--record)

hostile: deps
	cargo build --profile ci --workspace --locked
	@scripts/hostile.sh "$${CARGO_TARGET_DIR:-target}/ci/solera"

fmt:
	cargo fmt --all

dist: deps
	@scripts/dist.sh

deps:
	@scripts/deps.sh

deps-tests:
	@scripts/deps.sh $(if $(filter none,$(SOLERA_FAULTS)),,strace faketime)
