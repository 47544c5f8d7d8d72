#!/bin/sh
# Fetches MediaWiki, and the PHP that runs it, for the check in tests/mediawiki.
#
#   scripts/mediawiki-fetch.sh [DIR]
#
# DIR (default ${XDG_CACHE_HOME:-$HOME/.cache}/solera/mediawiki) becomes the root of a MediaWiki tree: DIR/index.php.
# MediaWiki is only unpacked, never installed: no web server, no database server, nothing below /etc or /var.
# A second run finds everything there and returns at once. To fetch anew, remove DIR.
set -eu

PHP_PACKAGES='php-cli php-sqlite3 php-mbstring php-xml php-intl php-curl'
PHP_MODULES='pdo_sqlite mbstring dom xmlreader intl curl'

# Debian keeps includes/libs, and with it RESTBagOStuff, in a package of its own.
MEDIAWIKI_PACKAGES='mediawiki mediawiki-classes'
MEDIAWIKI_FILES='index.php maintenance/install.php vendor/autoload.php includes/libs/objectcache/RESTBagOStuff.php'

main() {
    if [ $# -gt 1 ]; then
        echo "usage: $0 [DIR]" >&2
        exit 2
    fi
    target=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/solera/mediawiki}
    if [ -n "$(php_modules_missing)" ]; then
        install_php
    fi
    if ! has_mediawiki "$target"; then
        fetch_mediawiki "$target"
    fi
    echo "MediaWiki is in $target"
}

php_modules_missing() {
    loaded=$(php -m 2>/dev/null || true)
    for module in $PHP_MODULES; do
        printf '%s\n' "$loaded" | grep -qix "$module" || printf '%s ' "$module"
    done
}

install_php() {
    need_apt
    know_package php-cli
    # One word per package: they are meant to split.
    # shellcheck disable=SC2086
    as_root apt-get install --yes --quiet --no-install-recommends $PHP_PACKAGES
    missing=$(php_modules_missing)
    [ -z "$missing" ] || fail "PHP still lacks: $missing"
}

has_mediawiki() {
    for file in $MEDIAWIKI_FILES; do
        [ -f "$1/$file" ] || return 1
    done
}

# Unpacks next to the target and renames at the end, so that an interrupted run leaves no half tree under its name.
fetch_mediawiki() {
    if [ -e "$1" ] && [ -n "$(ls -A "$1")" ]; then
        fail "$1 exists and is no complete MediaWiki: remove it, then run this again"
    fi
    need_apt
    know_package mediawiki
    mkdir -p "$(dirname "$1")"
    work=$(mktemp -d "$1.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM

    # A package list that is out of date names versions that are gone: refresh it once.
    download_packages || { as_root apt-get update --quiet && download_packages; }
    for package in "$work"/*.deb; do
        dpkg-deb -x "$package" "$work/unpacked"
    done
    tree=$work/unpacked/usr/share/mediawiki
    cut_loose "$tree"
    has_mediawiki "$tree" || fail "these packages are not the MediaWiki that was expected: $(ls "$work")"
    rm -rf "$1"
    mv "$tree" "$1"
}

# Not as the user _apt, who may not enter a cache folder below somebody's home.
# shellcheck disable=SC2086
download_packages() {
    (cd "$work" && apt-get download --quiet -o "APT::Sandbox::User=$(id -un)" $MEDIAWIKI_PACKAGES)
}

# Debian's links lead to /var/lib/mediawiki and /etc/mediawiki. A MediaWiki that is installed on this machine must
# not get into the check (and the check not into it); the tree has to do without those places.
cut_loose() {
    rm -f "$1/LocalSettings.php" "$1/config" "$1/images" "$1/extensions"
    ln -s extensions-core "$1/extensions"
    mkdir "$1/images"
}

need_apt() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        fail "this needs apt-get and dpkg-deb. Elsewhere: install PHP with $PHP_MODULES," \
            "unpack MediaWiki 1.39, and set SOLERA_MEDIAWIKI to the folder that has its index.php"
    fi
}

# A fresh container has empty package lists.
know_package() {
    [ -n "$(apt-cache show "$1" 2>/dev/null)" ] || as_root apt-get update --quiet
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
    else
        fail "root is needed. Run this, then start the script again:" "    sudo $*"
    fi
}

fail() {
    echo "mediawiki-fetch: $1" >&2
    shift
    [ $# -eq 0 ] || printf '%s\n' "$@" >&2
    exit 1
}

main "$@"
