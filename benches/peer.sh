#!/usr/bin/env bash
# Gratis for a comparison of proxies: a fresh ledger with one fixed key, then the server in the foreground.
#
#     benches/peer.sh [path/to/gratis]
#
# listens on 127.0.0.1:9400, calls 127.0.0.1:9100, knows the key `sk-bench-0` and the model `mock-1`.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
gratis=${1:-$repository/target/release/gratis}
config=$repository/benches/peer.toml
target=$repository/target

mkdir -p "$target"
rm -rf "$target/peer"
umask 077
printf 'sk-bench-0\n' >"$target/peer-key"
"$gratis" init --config "$config" --balance mock-1=4,000,000,000,000/4,000,000,000,000 --key-file "$target/peer-key" >&2
exec "$gratis" serve --config "$config"
