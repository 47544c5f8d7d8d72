#!/bin/sh
# Builds what is missing, and runs one Kafka broker with two nodes of one data centre on it, in the foreground. Ctrl-C
# stops all three; a second run goes on with the same data.
#
#   scripts/run-kafka.sh PORT DATA_DIR
#
# The nodes listen on PORT and PORT + 1, Kafka on 19092. Take KAFKA_PORT for another one.
set -eu
cd "$(dirname "$0")/.."

port=$1
data=$2
kafka=${KAFKA_PORT:-19092}
scripts/deps.sh curl
scripts/kafka-fetch.sh
cargo build --profile ci --workspace --locked
solera=${CARGO_TARGET_DIR:-target}/ci/solera

mkdir -p "$data"
data=$(cd "$data" && pwd)
scripts/make-secrets.sh "$data"

config() {
    cat <<EOF
listen_address: 127.0.0.1
listen_port: $1
dc: eqiad
data_dir: $data/node-$1
log_level: warning
log:
  kafka: { bootstrap_servers: '127.0.0.1:$kafka', replication: 1, partitions: 4 }
secrets:
  index: { file: $data/index-secret }
  ring: [ { id: 1, file: $data/ring-secret } ]
stores:
  sessions: { base_uri: /sessions/v1, default_ttl: 86400 }
EOF
}

stop() {
    trap '' INT TERM EXIT
    # Nodes first: they say what became of their last records.
    for process in ${nodes:-}; do kill "$process" 2>/dev/null || true; done
    for process in ${nodes:-}; do wait "$process" || true; done
    kill "${broker:-}" 2>/dev/null || true
    wait || true
}
trap stop EXIT
trap 'exit 130' INT TERM

echo "Starting Kafka on 127.0.0.1:$kafka; its output is in $data/kafka.output"
scripts/kafka-broker.sh "$data/kafka" "$kafka" >"$data/kafka.output" 2>&1 &
broker=$!

first=$port
second=$((port + 1))
for node in $first $second; do
    mkdir -p "$data/node-$node"
    config "$node" >"$data/node-$node.yaml"
done
tries=0
until "$solera" topics apply --config "$data/node-$first.yaml" >"$data/topics.output" 2>&1; do
    tries=$((tries + 1))
    if ! kill -0 "$broker" 2>/dev/null || [ "$tries" -ge 10 ]; then
        cat "$data/topics.output" >&2
        echo "Kafka did not start: see $data/kafka.output" >&2
        exit 1
    fi
    sleep 1
done
cat "$data/topics.output"

nodes=''
for node in $first $second; do
    "$solera" serve --config "$data/node-$node.yaml" &
    nodes="$nodes $!"
done
for node in $first $second; do
    until curl -sf -o /dev/null "http://127.0.0.1:$node/readyz"; do
        for process in $nodes; do kill -0 "$process" || exit 1; done
        sleep 0.1
    done
done

cat <<EOF

Two nodes of one data centre, eqiad, on one broker:

Sessions  http://127.0.0.1:$first/sessions/v1/ and http://127.0.0.1:$second/sessions/v1/
Admin     http://127.0.0.1:$((first + 1000))/v1/status and http://127.0.0.1:$((second + 1000))/v1/status
Topics    $solera topics check --config $data/node-$first.yaml
Data      $data
Try it    curl -i -X POST -d hello http://127.0.0.1:$first/sessions/v1/greeting && curl -i http://127.0.0.1:$second/sessions/v1/greeting
Stop it   Ctrl-C; a second start goes on with the same data
EOF
wait
