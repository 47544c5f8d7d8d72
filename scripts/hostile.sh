#!/bin/sh
# Two tools that know nothing of Solera, against the real program: slowhttptest (slow heads, slow bodies, slow readers)
# while a client that behaves measures, then schemathesis over the specification that the program serves.
#
#   scripts/hostile.sh PROGRAM
#
#   SOLERA_HOSTILE_CONNECTIONS=1000   slow connections at a time
#   SOLERA_HOSTILE_SECONDS=30         how long each mode goes on
#   SOLERA_HOSTILE_EXAMPLES=200       requests that schemathesis makes up for each operation
#
# Installs slowhttptest and Python's venv if they are missing and this may be done, and schemathesis from PyPI in a
# folder of its own. Everything goes over loopback. Fails when the client that behaves has one request fail, or not
# answered within 5 s; when slowhttptest finds the service unavailable; when an answer is a server error, or departs
# from the specification. How slow the slowest request was is said and not judged: that depends on the machine's load.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
connections=${SOLERA_HOSTILE_CONNECTIONS:-1000}
seconds=${SOLERA_HOSTILE_SECONDS:-30}
examples=${SOLERA_HOSTILE_EXAMPLES:-200}
venv=${XDG_CACHE_HOME:-$HOME/.cache}/solera/schemathesis

main() {
    if [ $# != 1 ]; then
        echo "usage: $0 PROGRAM" >&2
        exit 2
    fi
    program=$1
    install_tools
    scratch=$(mktemp -d)
    running=''
    trap stop_all EXIT
    trap 'exit 130' INT TERM
    raise_files

    start_node plain http
    under_attack slow-heads -H -i 10 -x 24
    under_attack slow-bodies -B -i 10 -s 8192 -x 24
    under_attack slow-readers -X -w 512 -y 1024 -n 5 -z 32 -k 3
    plain=$base
    make_certificate
    start_node tls https
    under_attack slow-heads-tls -H -i 10 -x 24
    under_attack slow-readers-tls -X -w 512 -y 1024 -n 5 -z 32 -k 3
    over_the_specification "$plain"
    stop_nodes
}

# A bit more than one process needs for all slow connections.
raise_files() {
    need=$((connections + 200))
    # shellcheck disable=SC3045 # dash and bash have it
    [ "$(ulimit -n)" = unlimited ] || [ "$need" -le "$(ulimit -n)" ] || ulimit -n "$need"
}

install_tools() {
    missing=''
    command -v slowhttptest >/dev/null 2>&1 || missing="$missing slowhttptest"
    command -v curl >/dev/null 2>&1 || missing="$missing curl"
    command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    # Words, meant to split.
    # shellcheck disable=SC2086
    [ -z "$missing" ] || "$here/deps.sh" $missing
    if ! cmp -s "$here/hostile-requirements.txt" "$venv/requirements.txt"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/hostile-requirements.txt"
        # Last: it says that all is there.
        cp "$here/hostile-requirements.txt" "$venv/requirements.txt"
    fi
}

# Starts a node in $scratch/$1 and sets $base to its URL.
start_node() {
    dir=$scratch/$1
    mkdir "$dir"
    ports=$(python3 -c '
import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(listener.getsockname()[1] for listener in taken))')
    port=${ports% *}
    for secret in index ring; do
        head -c 32 /dev/urandom | base64 >"$dir/$secret"
        chmod 600 "$dir/$secret"
    done
    # The longest life that any store may allow is what the specification says of Session-Ttl.
    cat >"$dir/config.yaml" <<END
listen_address: 127.0.0.1
listen_port: $port
admin: { listen: 127.0.0.1:${ports#* } }
dc: hostile
data_dir: $dir/data
secrets:
  index: { file: $dir/index }
  ring: [ { id: 1, file: $dir/ring } ]
stores:
  sessions: { base_uri: /sessions/v1, default_ttl: 86400, max_ttl: 3162240000 }
END
    [ "$2" = http ] || echo "tls: { cert: $scratch/cert.pem, key: $scratch/key.pem }" >>"$dir/config.yaml"
    "$program" serve --config "$dir/config.yaml" >"$dir/log" 2>&1 &
    running="$running $!"
    base=$2://127.0.0.1:$port
    tries=0
    until client --output /dev/null "$base/readyz"; do
        tries=$((tries + 1))
        if [ "$tries" = 100 ]; then
            echo 'The node did not become ready:' >&2
            cat "$dir/log" >&2
            exit 1
        fi
        sleep 0.1
    done
    head -c 131072 /dev/zero | client --output /dev/null --data-binary @- "$base/sessions/v1/large"
    client --output /dev/null --data-binary small "$base/sessions/v1/small"
}

# curl that fails on every status from 400 up, and checks the certificate.
client() {
    if [ -f "$scratch/cert.pem" ]; then
        curl --silent --fail --max-time 5 --cacert "$scratch/cert.pem" "$@"
    else
        curl --silent --fail --max-time 5 "$@"
    fi
}

make_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj '/CN=127.0.0.1' \
        -addext 'subjectAltName=IP:127.0.0.1' -keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2>/dev/null
    chmod 600 "$scratch/key.pem"
}

# Each request on a connection of its own, writes, reads and deletes in turn, until $1 is there. A line for each.
behave() {
    while [ -d "$scratch" ] && [ ! -e "$1" ]; do
        for request in '--request POST --data-binary mine' '--request GET' '--request DELETE'; do
            # Words, meant to split.
            # shellcheck disable=SC2086
            client $request --output /dev/null --write-out '%{http_code} %{time_total} %{method} %{time_connect} %{time_appconnect}\n' "$base/sessions/v1/mine" || true
        done
        sleep 0.05
    done
}

# Runs slowhttptest with these arguments for a mode, while a client behaves, and says how that one fared.
under_attack() {
    name=$1
    shift
    case $name in
        slow-readers*) target=$base/sessions/v1/large ;;
        *) target=$base/sessions/v1/small ;;
    esac
    behave "$scratch/$name.end" >"$scratch/$name.client" &
    client_pid=$!
    timeout $((seconds + 60)) slowhttptest "$@" -c "$connections" -r $((connections / 10)) -l "$seconds" -p 3 -u "$target" \
        >"$scratch/$name.raw" 2>&1 || true
    : >"$scratch/$name.end"
    wait "$client_pid"
    # Without its colours.
    sed 's/\x1b\[[0-9;]*m//g' "$scratch/$name.raw" >"$scratch/$name.tool"
    held=$(awk '/^connected:/ && m < $2 { m = $2 } END { print m + 0 }' "$scratch/$name.tool")
    away=$(grep -c 'service available: *NO' "$scratch/$name.tool" || true)
    awk -v name="$name" -v held="$held" -v away="$away" '
        { total++; if (slow < $2) { slow = $2; slowest = $3 } }
        !($1 ~ /^2/) { failed++; print "failed: " $0 }
        END {
            printf "%-16s %5d slow connections held at most; a client that behaves: %d requests, %d failed, slowest %d ms (%s); unavailable to the tool: %d times\n",
                name, held, total, failed, slow * 1000, slowest, away
            exit failed || away || total < 50 || held < 100
        }' "$scratch/$name.client" || {
        echo "This is not as it should be. slowhttptest ended with:" >&2
        tail -25 "$scratch/$name.tool" >&2
        exit 1
    }
}

# All checks but one. Any method is answered alike by probes and metrics, as by Kask; and sessions answer a method that
# they do not know with 400, as Kask does, and not with 405: so `unsupported_method` asks for what is not promised. Nor
# is a header that nobody knows an error, as extra parameters would have it.
over_the_specification() {
    printf '[generation]\nallow-extra-parameters = false\n' >"$scratch/schemathesis.toml"
    (cd "$scratch" && "$venv/bin/schemathesis" run "$1/openapi" --no-color --checks all \
        --exclude-checks unsupported_method --max-examples "$examples" --suppress-health-check all \
        --generation-database none --request-timeout 10 --continue-on-failure)
}

# An orderly end is part of the test.
stop_nodes() {
    for pid in $running; do
        kill "$pid"
        wait "$pid"
    done
    running=''
    for log in "$scratch"/*/log; do
        if grep -E '"level": "(ERROR|FATAL)"' "$log"; then
            echo 'The node logged errors.' >&2
            exit 1
        fi
    done
}

stop_all() {
    for pid in $running; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" || true
    done
    rm -rf "$scratch"
}

main "$@"
