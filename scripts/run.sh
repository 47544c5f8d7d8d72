#!/bin/sh
# Builds the program and starts it for development. Usage: run.sh PORT DATA_DIR
set -eu

port=$1
data_dir=$2
target_dir=${CARGO_TARGET_DIR:-target}

if [ ! -e "$target_dir/ci/solera" ]; then
    echo 'First build: a quarter of an hour or more on two cores, nearly all of it RocksDB and librdkafka. Later builds take seconds.'
fi
cargo build --profile ci --workspace --locked
exec "$target_dir/ci/solera" dev --port-base "$port" --data-dir "$data_dir"
