#!/bin/sh
# Measures the figures of docs/benchmarks.md: builds the program without debug assertions and runs scripts/figures.py.
#
#   scripts/figures.sh [get] [post] [space] [memory] [start] [rebuild] [tombstones]
#                      [kafka-post] [kafka-get] [kafka-rebuild] [kafka-mix]
#                      [dcs-delete] [dcs-cut] [dcs-mirror] [--small] [--dir DIR] ...
#                      --help says all; those on Kafka need Java, and fetch its jars
set -eu

cd "$(dirname "$0")/.."
command -v python3 >/dev/null 2>&1 || { echo 'python3 is missing: install it and try again.' >&2; exit 1; }

CARGO_PROFILE_CI_DEBUG_ASSERTIONS=false cargo build --profile ci --workspace --locked
# A copy, because another build may put another program in its place while this one is measured.
program=$(mktemp)
trap 'rm -f "$program"' EXIT
cp "${CARGO_TARGET_DIR:-target}/ci/solera" "$program"
chmod 755 "$program"
python3 scripts/figures.py --program "$program" "$@"
