#!/bin/sh
# Fetches promtool, which says whether metrics are named as Prometheus wants them, and runs the check of tests/metrics.rs
# with it.
#
#   scripts/promtool.sh
#
# promtool is a part of Debian's package `prometheus` (19 MB). That is only unpacked, never installed: no daemon, nothing
# below /etc or /var. A second run finds it in ${XDG_CACHE_HOME:-$HOME/.cache}/solera/promtool. SOLERA_PROMTOOL=FILE names
# another one, where there is no Debian.
set -eu

cached=${XDG_CACHE_HOME:-$HOME/.cache}/solera/promtool
check='metrics::promtool_finds_nothing_to_say_of_our_metrics'

fetch() {
    command -v apt-get >/dev/null 2>&1 || {
        echo 'promtool is missing: install Prometheus and say where it is, SOLERA_PROMTOOL=/path/to/promtool' >&2
        exit 1
    }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # Not as the user _apt, who may not enter everybody's folders.
    (cd "$work" && apt-get -q -o "APT::Sandbox::User=$(id -un)" download prometheus)
    dpkg-deb -x "$work"/prometheus_*.deb "$work/unpacked"
    mkdir -p "$(dirname "$cached")"
    mv "$work/unpacked/usr/bin/promtool" "$cached"
}

if [ -z "${SOLERA_PROMTOOL:-}" ]; then
    [ -x "$cached" ] || fetch
    SOLERA_PROMTOOL=$cached
fi
export SOLERA_PROMTOOL
said=$(cargo test --profile ci --workspace --locked --test solera -- --ignored --exact "$check" 2>&1) || {
    printf '%s\n' "$said" >&2
    exit 1
}
case $said in
    *'1 passed'*) echo "promtool finds nothing to say" ;;
    *) printf '%s\n%s\n' "$said" "There is no test $check" >&2 && exit 1 ;;
esac
