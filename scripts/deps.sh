#!/bin/sh
# Installs the system packages that a build needs, or says how.
#
#   scripts/deps.sh [PACKAGE]...     these as well
#
# Where there is no dpkg, a package is there if there is a command of its name.
set -eu

packages="build-essential clang libclang-dev cmake pkg-config libssl-dev zlib1g-dev openssl $*"

if ! command -v cargo >/dev/null 2>&1; then
    echo 'cargo is missing: install a Rust toolchain (1.89 or later), for example with rustup, and try again.' >&2
    exit 1
fi

if ! command -v dpkg-query >/dev/null 2>&1; then
    for tool in cc c++ clang cmake pkg-config openssl "$@"; do
        if ! command -v "$tool" >/dev/null 2>&1; then
            echo "$tool is missing. On this system, install the equivalents of Debian's: $packages" >&2
            exit 1
        fi
    done
    exit 0
fi

missing=''
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=''
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root='sudo'
else
    echo "These packages are missing, and installing them takes more rights than you have here. Please run:" >&2
    echo "    sudo apt-get install$missing" >&2
    exit 1
fi

echo "Installing$missing"
# shellcheck disable=SC2086 # lists of words
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
