#!/bin/sh
# Counts the instructions of a GET, a POST and an event that is applied, under valgrind, and fails when one is more than
# 3 % from what bench/instructions.json says. Takes a minute of processor time once all is built.
#
#   scripts/instructions.sh             counts and compares
#   scripts/instructions.sh --record    counts and writes bench/instructions.json, for whoever means to change it
#
# Debug assertions are on: this is the program that CI builds, so that RocksDB is compiled once.
set -eu

cd "$(dirname "$0")/.."
scripts/deps.sh valgrind
cargo bench --profile ci --workspace --locked --bench instructions --quiet -- "$@"
