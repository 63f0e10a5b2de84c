#!/bin/sh
# The TLS of `gratis serve` by sslyze (PyPI, in a folder that is thrown away), against Mozilla's "intermediate" configuration.
#
#   tests/campaigns/tls.sh target/release/gratis
#
# The certificate is made here and nobody trusts it: that its path cannot be validated is the one complaint that is let pass.
set -eu
gratis=$(realpath "${1:-target/release/gratis}")
dir=$(mktemp -d)
cd "$dir"
port=$((20000 + $$ % 20000))
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.crt -days 90 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>openssl.log
cat >gratis.toml <<TOML
[server]
listen = "127.0.0.1:$port"
tls_certificate = "server.crt"
tls_private_key = "server.key"
[admin]
listen = "127.0.0.1:0"
[store]
state_dir = "state"
TOML
python3 -m venv venv
venv/bin/pip --quiet install sslyze
DASHSCOPE_API_KEY=sk-none "$gratis" serve --config gratis.toml >serve.log 2>&1 &
pid=$!
trap 'kill $pid; wait $pid || true; cd /; rm -rf "$dir"' EXIT
until openssl s_client -connect "127.0.0.1:$port" </dev/null >/dev/null 2>&1; do
    kill -0 $pid
done
venv/bin/sslyze --mozilla_config=intermediate "localhost:$port" >report.txt || true
cat report.txt
grep -q 'COMPLIANT\|Not compliant' report.txt
complaints=$(sed -n '/COMPLIANCE AGAINST/,$p' report.txt | grep '^ *\* ' | grep -v certificate_path_validation || true)
if [ -n "$complaints" ]; then
    echo "not compliant: $complaints"
    exit 1
fi
echo "Compliant with Mozilla's intermediate configuration, but for the certificate that was made for this."
