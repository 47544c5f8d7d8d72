#!/bin/sh
# Fetches Kafka as jars from Maven Central, and the Java that runs them, for tests/kafka and `make run-kafka`.
#
#   scripts/kafka-fetch.sh [DIR]
#
# DIR (default $SOLERA_KAFKA_JARS, or ${XDG_CACHE_HOME:-$HOME/.cache}/solera/kafka-4.3.1) gets the jars, 55 MB. A second
# run finds everything there and returns at once. To fetch anew, remove DIR.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
pom=$here/../tests/kafka/pom.xml
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$pom")
target=${1:-${SOLERA_KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/solera/kafka-$version}}

fail() {
    echo "kafka-fetch: $1" >&2
    exit 1
}

command -v java >/dev/null 2>&1 || "$here/deps.sh" openjdk-17-jre-headless ||
    fail 'Java 17 or later is missing, and Kafka needs it'
java=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
[ "${java:-0}" -ge 17 ] || fail "Java $java is too old: Kafka $version needs 17 or later"

if [ ! -f "$target/complete" ]; then
    command -v mvn >/dev/null 2>&1 || "$here/deps.sh" maven || fail 'Maven is missing, and fetches the jars'
    # Unpacked next to the target and renamed at the end, so that an interrupted run leaves no half folder under its name.
    mkdir -p "$(dirname "$target")"
    work=$(mktemp -d "$target.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    mvn --batch-mode --quiet --file "$pom" dependency:copy-dependencies "-Djars=$work" ||
        fail 'Maven did not bring the jars: is Maven Central, or a mirror of it, within reach?'
    [ -f "$work/kafka_2.13-$version.jar" ] || fail "what Maven brought is not Kafka $version"
    touch "$work/complete"
    rm -rf "$target"
    mv "$work" "$target"
    chmod 755 "$target"
fi
echo "Kafka $version is in $target"
