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
# The bill of materials: every crate that is in the program, with version, licence and source.
cargo metadata --format-version 1 --locked --filter-platform "$target" >"dist/$name/sbom.cargo-metadata.json"
cargo tree --workspace --locked --edges normal,build --prefix none --format '{p} {l}' | sort -u >"dist/$name/sbom.txt"
(cd "dist/$name" && find . -type f ! -name SHA256SUMS -exec sha256sum {} + | sort -k 2 >SHA256SUMS)
tar -C dist --sort=name --owner=0 --group=0 --numeric-owner -czf "dist/$name.tar.gz" "$name"
(cd dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "dist/$name.tar.gz"
