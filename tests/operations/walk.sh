#!/usr/bin/env bash
# The walk of a new operator, from nothing to an overdue account and back. Every command is shown with its output; a step that does
# not come to what it must ends the walk with 1. Everything is on this machine: the provider is the simulator.
#
#   walk.sh GRATIS PYTHON     the program, and a Python with aiosmtpd (target/operations-venv/bin/python)
set -uo pipefail
gratis=$1 python=$2 here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
children=()
end() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$work"
}
trap end EXIT
cd "$work" || exit 1

fail() {
    printf '\nFAILED: %s\n' "$1"
    [ -f serve.log ] && tail -20 serve.log
    exit 1
}

# run CODE COMMAND...: shows the command and what it prints, which stays in `out`; ends the walk where the exit code differs.
run() {
    local wanted=$1 code
    shift
    printf '\n$ gratis %s\n' "$*"
    out=$("$gratis" "$@" 2>&1)
    code=$?
    printf '%s\n' "$out"
    [ "$code" = "$wanted" ] || fail "exit code $code, not $wanted"
}

# says TEXT: the last output contains it.
says() {
    case $out in *"$1"*) ;; *) fail "\"$1\" was not said" ;; esac
}

# appears FILE TEXT: waits until a file contains a text.
appears() {
    for _ in $(seq 300); do
        grep -q -- "$2" "$1" 2>/dev/null && return
        sleep 0.1
    done
    fail "\"$2\" never appeared in $1: $(cat "$1")"
}

# call MODEL: one chat; status and error code in `out`, the response's headers in `headers`.
call() {
    printf '\n$ curl .../chat/completions   # %s\n' "$1"
    out=$("$python" - "$origin" "$key" "$1" <<'PYTHON'
import json, sys, urllib.request, urllib.error
origin, key, model = sys.argv[1:]
body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 300}
request = urllib.request.Request(f"{origin}/compatible-mode/v1/chat/completions", json.dumps(body).encode())
request.add_header("authorization", f"Bearer {key}")
request.add_header("content-type", "application/json")
try:
    answer = urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    answer = error
whole = json.loads(answer.read())
print(answer.status, (whole.get("error") or {}).get("code", ""))
for name, value in answer.headers.items():
    if name.startswith("x-gratis"):
        print(f"{name}: {value}")
PYTHON
    )
    printf '%s\n' "$out"
}

header() {
    printf '%s\n' "$out" | sed -n "s/^$1: //p"
}

secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
"$python" "$here/hook.py" $secret >hook.log & children+=($!)
"$python" "$here/mail_sink.py" >mail.log & children+=($!)
"$gratis" simulator -o json >simulator.log 2>&1 & children+=($!)
appears hook.log . && appears mail.log port && appears simulator.log http
simulator=$(grep -o 'http://127.0.0.1:[0-9]*' simulator.log | head -1)
printf '%s' $secret >webhook-secret && chmod 600 webhook-secret
cat >gratis.toml <<TOML
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
state_dir = "state"
[site]
name = "qwen-cloud"
[upstream.default]
base_url = "$simulator/compatible-mode/v1"
allow_private = true
[notify]
check_every = "200ms"
[notify.webhook]
url = "http://127.0.0.1:$(head -1 hook.log)/hook"
secret = { file = "webhook-secret" }
[notify.mail]
host = "127.0.0.1"
port = $(grep -o '[0-9]*' mail.log | head -1)
tls = "off"
from = "gratis@example.com"
to = ["ops@example.com"]
TOML
export GRATIS_CONFIG=$work/gratis.toml DASHSCOPE_API_KEY=sk-walk USER=mei

run 0 check
run 0 init --balance qwen-max=2,000/1,000,000 --balance qwen-plus=900,000/1,000,000
"$gratis" serve >serve.log 2>&1 & children+=($!)
appears serve.log operators:
origin=$(sed -n 's/.*clients: *\(http:[^ ]*\).*/\1/p' serve.log | head -1 | sed 's|\(http://[^/]*\).*|\1|')
admin=$(sed -n 's/.*operators: *\(http:[^ ]*\).*/\1/p' serve.log | head -1 | sed 's|\(http://[^/]*\).*|\1|')
export GRATIS_ADMIN_URL=$admin GRATIS_ADMIN_TOKEN_FILE=$work/state/admin-token

# An account of a team, its user, its key.
run 0 account create team --state not_activated --never-pay off
run 0 account event activated --account team
says unverified
run 0 account event verified --account team
run 0 account event topped_up --account team
says active
run 0 workspace add ws-1 --account team
run 0 user add jo --name "Jo" --account team
run 0 grant add qwen-max 1,000,000 --spent 998,000 --account team
run 0 grant add qwen-plus 1,000,000 --account team
run 0 grant add qwen-flash 1,000,000 --account team
run 0 key create --name laptop --user jo --workspace ws-1 --account team
key=$(printf '%s\n' "$out" | tail -1)
run 0 key list --account team
says jo

# How the quota stands, and the switches in bulk.
run 0 model list --account team
says qwen-flash
run 0 model switch on --all --dry-run --account team
says "nothing was changed"
run 0 model switch on --all --account team
run 1 model switch off qwen-plus --account team
says "[not_used_up]"
run 1 model switch on qwen-turbo --account team
says "[no_grant]"

# Use a model up, read the refusal, ask why.
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
    call qwen-max
    case $out in 403*) break ;; esac
done
says "403 AllocationQuota.FreeTierOnly"
request=$(header x-gratis-request-id)
for _ in $(seq 100); do "$gratis" why "$request" >/dev/null 2>&1 && break; sleep 0.1; done
run 0 why "$request"
says "what is left cannot carry the call"
says "turned on at"

# Another model serves instead.
run 0 fallback set qwen-plus qwen-flash --account team
call qwen-max
says "x-gratis-model: qwen-plus"
run 0 fallback clear --account team

# The console's figures: lower at once; higher only when the console had the time.
run 0 model sync qwen-max 0/1,000,000 --account team
run 1 model sync qwen-max 5,000/1,000,000 --raise --account team
says "[console_lags]"
printf 'Model\tFree quota\nqwen-plus\t900,000/1,000,000\nqwen-flash\t800,000/1,000,000\n' >console.tsv
run 0 model sync --table console.tsv --account team

# Somebody was told.
run 0 notify channels
run 0 notify test
appears hook.log "free_quota.used-up Free quota of qwen-max is used up (team)"
appears mail.log "Free quota of qwen-max is used up (team)"
printf '\n# hook.log\n' && cat hook.log

# Overdue, and back.
run 0 account event bill_unpaid --account team
says overdue
call qwen-plus
says "400 Arrearage"
run 0 account event topped_up --account team
call qwen-plus
says "200"
run 0 account standing team

# Used up, so the switch may be turned off.
run 0 model switch off qwen-max --account team

# Who did all that.
run 0 audit --account team --limit 100
says "operate (mei)"
run 0 entry list --account team --limit 10
run 0 route list
run 0 version
printf '\nThe walk is done.\n'
