#!/bin/sh
# Everything that CI checks, in one run, with the minutes of each step. Stops at the first step that fails.
#
#   SOLERA_SKIP_MEDIAWIKI=1   leaves out the check against a real MediaWiki, which needs Debian's packages
#   SOLERA_SKIP_PROMTOOL=1    leaves out promtool, which needs Debian's package of Prometheus, unpacked and not installed
#   SOLERA_SKIP_HOSTILE=1     leaves out slowhttptest and schemathesis, which need Debian's packages and PyPI
#   SOLERA_SKIP_COMPOSE=1     leaves out the check of the compose files, which needs Go and its module proxy
#   SOLERA_KAFKA=none         leaves out the tests on real Kafka, which need Java, Maven and Maven Central
#   SOLERA_FAULTS=none        leaves out the tests that make disks and clocks fail, which take root
set -eu

target_dir=${CARGO_TARGET_DIR:-target}
stamp=$(mktemp)
trap 'rm -f "$stamp"' EXIT
summary=''
step() {
    name=$1
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    began=$(date +%s)
    "$@"
    took=$(($(date +%s) - began))
    summary="$summary$(printf '%6d:%02d  %s' $((took / 60)) $((took % 60)) "$name")
"
}

# Two commands that build the same things with other features would compile RocksDB twice.
cpp_is_compiled_once() {
    built=$(find "$target_dir/ci/build" -path '*/librocksdb-sys-*/out/librocksdb.a' -newer "$stamp" | wc -l)
    if [ "$built" -gt 1 ]; then
        echo "RocksDB's C++ was compiled $built times in this run: build commands differ in features or flags." >&2
        return 1
    fi
}

mediawiki() {
    scripts/mediawiki-fetch.sh
    cargo test --profile ci --workspace --locked --test mediawiki
}

step 'format' cargo fmt --all --check
step 'build' cargo build --profile ci --workspace --locked
step 'build the tests' cargo test --profile ci --workspace --locked --no-run
step 'lints' cargo clippy --profile ci --workspace --locked --all-targets -- -D warnings
step 'older processors' scripts/processors.sh "$target_dir/ci/solera"
step 'unit tests' cargo test --profile ci --workspace --locked --lib --bins
if [ "${SOLERA_KAFKA:-}" = none ]; then
    printf '\n== Kafka: LEFT OUT, as SOLERA_KAFKA asks\n'
    summary="$summary        -  Kafka (left out)
"
else
    step 'fetch Kafka' scripts/kafka-fetch.sh
fi
if [ "${SOLERA_SKIP_COMPOSE:-}" = 1 ]; then
    printf '\n== compose files: LEFT OUT, as SOLERA_SKIP_COMPOSE asks\n'
    summary="$summary        -  compose files (left out)
"
else
    step 'compose files' scripts/check-compose.py "$target_dir/ci/solera"
fi
step 'the program, its contract and the simulation' cargo test --profile ci --workspace --locked --test solera
step 'instruction counts' scripts/instructions.sh
if [ "${SOLERA_SKIP_MEDIAWIKI:-}" = 1 ]; then
    printf '\n== MediaWiki: LEFT OUT, as SOLERA_SKIP_MEDIAWIKI asks\n'
    summary="$summary        -  MediaWiki (left out)
"
else
    step 'MediaWiki' mediawiki
fi
if [ "${SOLERA_SKIP_HOSTILE:-}" = 1 ]; then
    printf '\n== slow and malformed clients: LEFT OUT, as SOLERA_SKIP_HOSTILE asks\n'
    summary="$summary        -  slow and malformed clients (left out)
"
else
    step 'slow and malformed clients' scripts/hostile.sh "$target_dir/ci/solera"
fi
if [ "${SOLERA_SKIP_PROMTOOL:-}" = 1 ]; then
    printf '\n== metrics by promtool: LEFT OUT, as SOLERA_SKIP_PROMTOOL asks\n'
    summary="$summary        -  metrics by promtool (left out)
"
else
    step 'metrics by promtool' scripts/promtool.sh
fi
step 'documentation' env RUSTDOCFLAGS='-D warnings' cargo doc --profile ci --workspace --locked --no-deps --quiet
step 'C++ compiled once' cpp_is_compiled_once

printf '\nAll checks passed.\n\nminutes\n%s' "$summary"
