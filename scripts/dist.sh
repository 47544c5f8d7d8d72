#!/bin/sh
# Builds dist/solera-VERSION-TARGET.tar.gz with the program, its documents, checksums and a bill of materials.
set -eu

version=$(cargo metadata --no-deps --format-version 1 --locked | sed -n 's/.*"name":"server","version":"\([^"]*\)".*/\1/p')
target=$(rustc -vV | sed -n 's/^host: //p')
name="solera-$version-$target"
target_dir=${CARGO_TARGET_DIR:-target}

SOLERA_BUILD_DATE=$(git log -1 --format=%cI 2>/dev/null || date -u +%FT%TZ)
SOLERA_BUILD_HOST=$(uname -m)
export SOLERA_BUILD_DATE SOLERA_BUILD_HOST
cargo build --profile dist --workspace --locked

rm -rf "dist/$name"
mkdir -p "dist/$name"
cp "$target_dir/dist/solera" README.md ARCHITECTURE.md CHANGELOG.md LICENSE "dist/$name/"
cp -R docs "dist/$name/docs"
ln -s solera "dist/$name/kask"
# The bill of materials. For people: every crate that is compiled into the program, with version and licence.
tree=$(cargo tree --package server --locked --target "$target" --edges normal,no-proc-macro \
    --prefix none --format '{p} {l}')
printf '%s\n' "$tree" | sed -e 's| ([*])$||' -e 's| (/[^)]*)||' | LC_ALL=C sort -u >"dist/$name/sbom.txt"
# For tools: what cargo knows of the whole workspace, thus also of what only builds, tests and measures the program,
# with the source of each crate. Folders of this machine are cut off the paths.
root=$(pwd -P)
metadata=$(cargo metadata --format-version 1 --locked --filter-platform "$target")
printf '%s\n' "$metadata" | sed \
    -e 's|"[^"]*/registry/src/[^/"]*/|"registry/|g' \
    -e 's|"\([a-z]*_directory\)":"[^"]*"|"\1":"target"|g' \
    -e "s|$root/||g" -e "s|\"$root\"|\".\"|g" >"dist/$name/sbom.cargo-metadata.json"
if grep -qF -e "$root" -e "${CARGO_HOME:-$HOME/.cargo}" "dist/$name"/sbom.*; then
    echo 'The bill of materials names folders of this machine.' >&2
    exit 1
fi
(cd "dist/$name" && find . -type f ! -name SHA256SUMS -exec sha256sum {} + | sort -k 2 >SHA256SUMS)
tar -C dist --sort=name --owner=0 --group=0 --numeric-owner -czf "dist/$name.tar.gz" "$name"
(cd dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "dist/$name.tar.gz"
