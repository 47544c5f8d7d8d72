#!/bin/sh
# Runs MirrorMaker 2 from Kafka's jars in the foreground: for tests and for trying several data centres on this machine.
# A site runs its own, with the same files.
#
#   scripts/kafka-mirror.sh FILE
#
# FILE is one of deploy/mirrormaker, or like them. Those take from the environment which brokers they are about and how
# many copies of its own topics MirrorMaker makes:
#
#   EQIAD_BOOTSTRAP_SERVERS=127.0.0.1:19092 CODFW_BOOTSTRAP_SERVERS=127.0.0.1:29092 MIRROR_REPLICATION=1 \
#       scripts/kafka-mirror.sh deploy/mirrormaker/codfw.properties
set -eu

if [ $# != 1 ]; then
    echo "usage: $0 FILE" >&2
    exit 2
fi
if [ ! -r "$1" ]; then
    echo "kafka-mirror: cannot read $1" >&2
    exit 1
fi
# MirrorMaker itself runs on without a word when it does not know where to read from.
for name in $(sed -n 's/^[^#]*\${env:\([A-Z0-9_]*\)}.*/\1/p' "$1" | sort -u); do
    if [ -z "$(printenv "$name")" ]; then
        echo "kafka-mirror: $1 takes $name from the environment, and it is not there" >&2
        exit 1
    fi
done
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$(dirname "$0")/../tests/kafka/pom.xml")
jars=${SOLERA_KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/solera/kafka-$version}
if [ ! -f "$jars/complete" ]; then
    echo "kafka-mirror: no Kafka in $jars: run scripts/kafka-fetch.sh" >&2
    exit 1
fi

exec java -Xms128m -Xmx384m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -Dlog4j2.level=WARN \
    -cp "$jars/*" org.apache.kafka.connect.mirror.MirrorMaker "$1"
