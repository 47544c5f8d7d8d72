#!/bin/sh
# Whether the program says what is wrong on processors that cannot run it. Usage: processors.sh PROGRAM
#
# Emulates them with qemu-user, which is installed if this may be done.
set -eu

program=$1

if ! command -v qemu-x86_64 >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        as_root=''
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        echo 'qemu-x86_64 is missing. Please run: sudo apt-get install qemu-user' >&2
        exit 1
    fi
    # A word or two, meant to split.
    # shellcheck disable=SC2086
    { apt-cache show qemu-user >/dev/null 2>&1 || $as_root apt-get update -qq
      $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-user >/dev/null; }
fi

# An x86-64-v1, a v2, the last without AVX2, and one that lacks a single feature, which would compute something else.
for processor in qemu64 Nehalem IvyBridge Haswell,-abm; do
    status=0
    said=$(qemu-x86_64 -cpu "$processor" "$program" version 2>&1) || status=$?
    case $status:$said in
        1:*'needs an x86-64-v3 processor'*'lacks'*) echo "$processor: $(printf '%s\n' "$said" | tail -1)" ;;
        *)
            echo "$processor: exit status $status, and said: $said" >&2
            exit 1
            ;;
    esac
done
qemu-x86_64 -cpu Haswell "$program" version 2>/dev/null
