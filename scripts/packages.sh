#!/bin/sh
# Installs the Debian packages of packages.txt that are missing: packages.sh build | test (test includes build).
# Does nothing, and needs no rights, when all are there.
set -eu
cd "$(dirname "$0")/.."
kind=${1:?usage: packages.sh build|test}
wanted=$(awk -v kind="$kind" '!/^#/ && NF && ($2 == "build" || $2 == kind) {print $1}' packages.txt)
missing=
for package in $wanted; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then root=; else root=sudo; fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$root apt-get install -y -q --no-install-recommends $missing ||
    { $root apt-get update -q && $root apt-get install -y -q --no-install-recommends $missing; }
