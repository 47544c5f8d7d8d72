#!/bin/sh
# Runs one Kafka broker, which is its own controller, in the foreground: for tests and `make run-kafka`, not for a site.
#
#   scripts/kafka-broker.sh DIR PORT [NAME=VALUE]...
#
# DIR keeps its data and is made if need be. It listens on 127.0.0.1:PORT, its controller on PORT + 1000. Each NAME=VALUE
# is one more setting; of two for one name the last counts. CLUSTER_ID names the cluster of a new DIR.
set -eu

if [ $# -lt 2 ]; then
    echo "usage: $0 DIR PORT [NAME=VALUE]..." >&2
    exit 2
fi
dir=$1
port=$2
controller=$((port + 1000))
shift 2
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$(dirname "$0")/../tests/kafka/pom.xml")
jars=${SOLERA_KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/solera/kafka-$version}
if [ ! -f "$jars/complete" ]; then
    echo "kafka-broker: no Kafka in $jars: run scripts/kafka-fetch.sh" >&2
    exit 1
fi

mkdir -p "$dir"
cat >"$dir/server.properties" <<EOF
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:$controller
log.dirs=$dir/data
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.backoff.ms=1000
log.retention.check.interval.ms=5000
log.segment.delete.delay.ms=1000
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=500
EOF
for setting in "$@"; do
    echo "$setting" >>"$dir/server.properties"
done

run() {
    class=$1
    shift
    exec java -Xms256m -Xmx512m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -cp "$jars/*" "$class" "$@"
}

if [ ! -f "$dir/data/meta.properties" ]; then
    id=${CLUSTER_ID:-$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c1-22)}
    (run kafka.tools.StorageTool format --ignore-formatted "--cluster-id=$id" -c "$dir/server.properties") >&2
fi
run kafka.Kafka "$dir/server.properties"
