#!/bin/sh
# Whether the program says what is wrong on processors that cannot run it. Usage: processors.sh PROGRAM
#
# Emulates them with qemu-user, which is installed if this may be done.
set -eu

program=$1

command -v qemu-x86_64 >/dev/null 2>&1 || "$(dirname "$0")/deps.sh" qemu-user

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
