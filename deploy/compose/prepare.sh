#!/bin/sh
# What the nodes of docker-compose.yml need before they start: secrets, made once, and the configuration of each node,
# written anew from the template node.yaml at every start.
#
#   prepare.sh NODE_YAML DIR
#
# From the environment: EQIAD_BOOTSTRAP_SERVERS, CODFW_BOOTSTRAP_SERVERS, REPLICATION.
set -eu
umask 077

if [ $# != 2 ]; then
    echo "usage: $0 NODE_YAML DIR" >&2
    exit 2
fi
template=$1
dir=$2

for secret in index-secret secret-1; do
    if [ ! -s "$dir/$secret" ]; then
        openssl rand -hex 32 >"$dir/$secret.new"
        mv "$dir/$secret.new" "$dir/$secret"
    fi
done

# NAME DC PORT KAFKA OTHER and the ports of the peer listeners of the other data centre's nodes.
node() {
    sed -e "s/@DC@/$2/" -e "s/@PORT@/$3/" -e "s/@ADMIN@/$(($3 + 1000))/" -e "s/@PEERS@/$(($3 - 1000))/" \
        -e "s/@KAFKA@/$4/" -e "s/@REPLICATION@/$REPLICATION/" -e "s/@OTHER@/$5/" -e "s/@OTHER_1@/$6/" \
        -e "s/@OTHER_2@/$7/" "$template" >"$dir/$1.yaml.new"
    mv "$dir/$1.yaml.new" "$dir/$1.yaml"
}
node eqiad-1 eqiad 8081 "$EQIAD_BOOTSTRAP_SERVERS" codfw 7082 7084
node eqiad-2 eqiad 8083 "$EQIAD_BOOTSTRAP_SERVERS" codfw 7082 7084
node codfw-1 codfw 8082 "$CODFW_BOOTSTRAP_SERVERS" eqiad 7081 7083
node codfw-2 codfw 8084 "$CODFW_BOOTSTRAP_SERVERS" eqiad 7081 7083
