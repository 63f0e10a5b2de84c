#!/usr/bin/env bash
# Installs what the tests need beyond a Rust toolchain: a Python environment in target/clients-venv with the SDK for
# Python and Node 22, the SDK for Node in tests/clients/node/node_modules, and in target/operations-venv what the tests of
# the operator's side need: schemathesis, a mail server, a vocabulary. Does nothing that is already done.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=target/clients-venv
requirements=tests/clients/python/requirements.txt
operations=target/operations-venv
operations_requirements=tests/operations/requirements.txt
node=tests/clients/node

# Debian packages, only those whose command is missing; the package lists are fetched only then.
missing=()
command -v cc >/dev/null || missing+=(build-essential)
command -v python3 >/dev/null || missing+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
# The store's tests make writes and fsyncs fail with it.
command -v strace >/dev/null || missing+=(strace)
# The shared store's tests start servers of their own.
command -v redis-server >/dev/null || missing+=(redis-server)
command -v redis-sentinel >/dev/null || missing+=(redis-sentinel)
if ((${#missing[@]})); then
    sudo=()
    ((EUID == 0)) || sudo=(sudo)
    echo "apt-get install ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# A Python environment ($1) with what a file of requirements ($2) names; more are options of pip.
python_environment() {
    if ! cmp -s "$2" "$1/installed.txt"; then
        echo "Python environment in $1"
        rm -rf "$1"
        mkdir -p "$(dirname "$1")"
        python3 -m venv "$1"
        "$1/bin/pip" install --quiet --disable-pip-version-check --no-input "${@:3}" -r "$2"
        cp "$2" "$1/installed.txt"
    fi
}
python_environment "$venv" "$requirements"
# The SDKs under test and what drives the admin API and receives notices do not share an environment.
python_environment "$operations" "$operations_requirements" --no-deps

if ! cmp -s "$node/package-lock.json" "$node/node_modules/installed.json"; then
    echo "Node packages in $node/node_modules"
    (PATH="$PWD/$venv/bin:$PATH" && cd "$node" && npm ci --silent --ignore-scripts)
    cp "$node/package-lock.json" "$node/node_modules/installed.json"
fi
