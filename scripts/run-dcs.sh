#!/bin/sh
# Builds what is missing, and runs two data centres on this machine, in the foreground: eqiad and codfw, each with a Kafka
# broker, a MirrorMaker that brings what the other one wrote, and two nodes. Ctrl-C stops all of it; a second run goes on with
# the same data.
#
#   scripts/run-dcs.sh DATA_DIR
#
# Sessions: eqiad 8081 and 8083, codfw 8082 and 8084; admin 1000 above, peers 1000 below. Kafka: 19092 and 29092.
set -eu
cd "$(dirname "$0")/.."

data=$1
scripts/deps.sh curl
scripts/kafka-fetch.sh
cargo build --profile ci --workspace --locked
solera=${CARGO_TARGET_DIR:-target}/ci/solera
export EQIAD_BOOTSTRAP_SERVERS=127.0.0.1:19092 CODFW_BOOTSTRAP_SERVERS=127.0.0.1:29092 MIRROR_REPLICATION=1

mkdir -p "$data"
data=$(cd "$data" && pwd)
scripts/make-secrets.sh "$data"

# DC PORT KAFKA OTHER and the peer listeners of its nodes.
config() {
    mkdir -p "$data/node-$2"
    cat >"$data/node-$2.yaml" <<EOF
service_name: $1-$2
listen_address: 127.0.0.1
listen_port: $2
dc: $1
data_dir: $data/node-$2
memory_mb: 128
log_level: warning
log:
  kafka: { bootstrap_servers: '$3', replication: 1, partitions: 4 }
peers:
  listen: 127.0.0.1:$(($2 - 1000))
  dcs:
    $4: { urls: ['http://127.0.0.1:$5', 'http://127.0.0.1:$6'] }
secrets:
  index: { file: $data/index-secret }
  ring: [ { id: 1, file: $data/ring-secret } ]
stores:
  sessions: { base_uri: /sessions/v1, default_ttl: 86400 }
EOF
}
for node in 8081 8083; do config eqiad $node "$EQIAD_BOOTSTRAP_SERVERS" codfw 7082 7084; done
for node in 8082 8084; do config codfw $node "$CODFW_BOOTSTRAP_SERVERS" eqiad 7081 7083; done

stop() {
    trap '' INT TERM EXIT
    # Nodes first: they say what became of their last records. Brokers last.
    for group in "${nodes:-}" "${mirrors:-}" "${brokers:-}"; do
        for process in $group; do kill "$process" 2>/dev/null || true; done
        for process in $group; do wait "$process" 2>/dev/null || true; done
    done
}
trap stop EXIT
trap 'exit 130' INT TERM

# Until a command succeeds, or what it needs has ended: TRIES SECONDS_BETWEEN PROCESSES COMMAND...
until_done() {
    tries=$1 between=$2 needs=$3
    shift 3
    until "$@" >"$data/last.output" 2>&1; do
        tries=$((tries - 1))
        for process in $needs; do kill -0 "$process" 2>/dev/null || tries=0; done
        if [ "$tries" -le 0 ]; then
            cat "$data/last.output" >&2
            echo "gave up: $*; the output of brokers and mirrors is in $data" >&2
            exit 1
        fi
        sleep "$between"
    done
}

brokers=''
for dc in eqiad:19092 codfw:29092; do
    echo "Starting Kafka of ${dc%:*} on 127.0.0.1:${dc#*:}"
    scripts/kafka-broker.sh "$data/kafka-${dc%:*}" "${dc#*:}" >"$data/kafka-${dc%:*}.output" 2>&1 &
    brokers="$brokers $!"
done
# Before a mirror runs, which would make them otherwise.
for node in 8081 8082; do
    until_done 20 1 "$brokers" "$solera" topics apply --config "$data/node-$node.yaml"
done
mirrors=''
for dc in eqiad codfw; do
    scripts/kafka-mirror.sh "deploy/mirrormaker/$dc.properties" >"$data/mirror-$dc.output" 2>&1 &
    mirrors="$mirrors $!"
done
nodes=''
for node in 8081 8083 8082 8084; do
    "$solera" serve --config "$data/node-$node.yaml" &
    nodes="$nodes $!"
    eval "node_$node=$!"
done
for node in 8081 8083 8082 8084; do
    until_done 600 0.1 "$nodes" curl -sf "http://127.0.0.1:$node/readyz"
done
echo 'Waiting for the mirrors: they take 10 to 20 seconds to begin'
arrives() {
    curl -sf -o /dev/null -X POST -d hello "http://127.0.0.1:$1/sessions/v1/arrives" &&
        curl -sf "http://127.0.0.1:$2/sessions/v1/arrives" && curl -sf -X DELETE "http://127.0.0.1:$2/sessions/v1/arrives"
}
until_done 240 0.5 "$mirrors" arrives 8081 8082
until_done 240 0.5 "$mirrors" arrives 8082 8081

greeting=sessions/v1/greeting
cat <<EOF

Two data centres, two nodes each:

eqiad     http://127.0.0.1:8081/sessions/v1/ and http://127.0.0.1:8083/sessions/v1/   Kafka 127.0.0.1:19092
codfw     http://127.0.0.1:8082/sessions/v1/ and http://127.0.0.1:8084/sessions/v1/   Kafka 127.0.0.1:29092
Admin     on the same ports and 1000
Data      $data

Write in one, read in the other:
  curl -i -X POST -d hello http://127.0.0.1:8081/$greeting; sleep 1; curl -i http://127.0.0.1:8084/$greeting
Delete in one, gone in both:
  curl -i -X DELETE http://127.0.0.1:8082/$greeting; curl -i http://127.0.0.1:8083/$greeting
Cut codfw off, and see who did not confirm a delete; let it come back, and delete again:
  kill -STOP $node_8082 $node_8084; curl -i -X DELETE http://127.0.0.1:8081/$greeting
  kill -CONT $node_8082 $node_8084; sleep 2; curl -i -X DELETE http://127.0.0.1:8081/$greeting
Stop it   Ctrl-C; a second start goes on with the same data
EOF
wait
