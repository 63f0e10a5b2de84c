#!/usr/bin/env python3
"""LiteLLM beside Gratis: the same simulator, the same bursts of 64 clients, and 20,000 tokens left.

    tests/campaigns/beside_litellm.py --gratis target/release/gratis --litellm target/litellm-venv/bin/litellm

For each of `BURSTS` each proxy gets a key that may use `--left` tokens, and the simulator starts from nothing. What it charged above
them is overspent. Then, with a limit that is not reached, the processor time of a plain call: user and system time of the proxy and
its children from /proc, over the calls, at 64 clients.

LiteLLM limits in two ways, and both are tried as its documentation has them: `max_budget` of a key, with a price of one millionth a
token, and `tpm_limit` of a key, with a window of a day instead of a minute. Both set an estimate aside before a call, which is its
default. The key comes from `custom_auth` with the common checks on, so that no database is needed; retries are off, and it has one
worker, which is its default too. Standard library only; everything on 127.0.0.1.
"""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import urllib.request

from ground import Site, answers, wait

CLIENTS = ["--concurrency", "64"]
# What the load is, and what the simulator is told.
BURSTS = {
    "max_tokens 400": (["--requests", "960", "--max-tokens", "400"], []),
    "max_tokens 400, a third leaves": (["--requests", "960", "--max-tokens", "400", "--abort-share", "0.33"], []),
    "no max_tokens": (["--requests", "960"], []),
    "no max_tokens, longest answers": (["--requests", "320"], ["--worst"]),
}
PROCESSOR = "processor time"
LIMITS = ["max_budget", "tpm_limit"]
CONFIG = """
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: http://127.0.0.1:{sim}/compatible-mode/v1
      api_key: sk-simulator
      input_cost_per_token: 0.000001
      output_cost_per_token: 0.000001
      max_retries: 0
litellm_settings:
  num_retries: 0
  telemetry: false
general_settings:
  master_key: sk-{master}
  custom_auth: keys.check
  custom_auth_run_common_checks: true
"""
# A key says its limit itself: sk-LIMIT-TOKENS-NUMBER.
KEYS = """
import hashlib

from litellm.proxy._types import UserAPIKeyAuth


async def check(request, api_key):
    _, limit, tokens, _ = api_key.split("-")
    name = hashlib.sha256(api_key.encode()).hexdigest()
    limits = {"max_budget": int(tokens) / 1_000_000} if limit == "max_budget" else {"tpm_limit": int(tokens)}
    return UserAPIKeyAuth(api_key=name, token=name, spend=0.0, **limits)
"""


class Gratis:
    """`gratis serve` with a grant of so many tokens."""

    def __init__(self, args, left, *simulator):
        self.site = Site(args.gratis, args.model, left)
        self.site.prepare(*simulator)
        self.process, self.key = self.site.serve(), self.site.key

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.site.end()


class LiteLlm:
    """LiteLLM's proxy in front of a simulator; each limit is another key of it."""

    def __init__(self, args, *simulator):
        self.site, self.keys = Site(args.gratis, args.model, 1), 0
        self.site.prepare(*simulator)
        folder = pathlib.Path(self.site.dir.name)
        config = CONFIG.format(model=self.site.model, sim=self.site.sim, master=os.urandom(32).hex())
        (folder / "config.yaml").write_text(config)
        (folder / "keys.py").write_text(KEYS)
        self.process = subprocess.Popen(
            [args.litellm, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(self.site.proxy)], cwd=folder,
            env=dict(os.environ, LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_RATE_LIMIT_WINDOW_SIZE="86400", LITELLM_LOG="ERROR"),
            stdout=self.site.log, stderr=self.site.log,
        )
        wait(lambda: answers(f"http://127.0.0.1:{self.site.proxy}/health/liveliness"), 300, "litellm is not ready", self.process)

    def limited(self, limit, left):
        """With a new key, in front of a simulator that starts from nothing."""
        self.keys += 1
        self.key = f"sk-{limit}-{left}-{self.keys}"
        request = urllib.request.Request(f"http://127.0.0.1:{self.site.sim}/reset", method="POST")
        urllib.request.urlopen(request, timeout=5).close()
        return self

    def end(self):
        Gratis.end(self)


def run(proxy, *words, streamed=0.5):
    said, _ = proxy.site.load(*CLIENTS, *words, key=proxy.key, streamed=streamed).communicate(timeout=600)
    return json.loads(said)


def burst(proxy, words, left):
    """What the clients saw and what was charged; the overspent tokens alone."""
    report = run(proxy, *words)
    charged = proxy.site.charged()
    over = max(0, charged - left)
    said = [report["completed"], report["aborted"], sum(report["errors"].values()), f"{charged:,}", over, report["errors"]]
    return " | ".join(map(str, said)), over


def processor_seconds(pid):
    """User and system time of a process and all its children."""
    total, open_ = 0.0, [pid]
    while open_:
        each = open_.pop()
        fields = pathlib.Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        for task in pathlib.Path(f"/proc/{each}/task").iterdir():
            open_ += map(int, (task / "children").read_text().split())
    return total


def a_call(proxy, calls):
    """Microseconds of the processor for a plain call."""
    run(proxy, "--max-tokens", "16", "--requests", str(calls // 10), streamed=0)
    before = processor_seconds(proxy.process.pid)
    completed = run(proxy, "--max-tokens", "16", "--requests", str(calls), streamed=0)["completed"]
    return f"{1e6 * (processor_seconds(proxy.process.pid) - before) / completed:.0f} us over {completed} calls"


def main():
    parser = argparse.ArgumentParser(description="LiteLLM beside Gratis", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--gratis", default="target/release/gratis")
    parser.add_argument("--litellm", default="target/litellm-venv/bin/litellm")
    parser.add_argument("--left", type=int, default=20_000)
    parser.add_argument("--calls", type=int, default=2_000, help="for the processor time")
    parser.add_argument("--only", default="", help="what has this in its name: a burst, or processor time")
    parser.add_argument("--model", default="qwen-plus")
    args = parser.parse_args()
    args.litellm = os.path.abspath(args.litellm)
    ours = 0
    print(f"{args.left:,} tokens left | proxy | completed | aborted | refused | charged | overspent | refusals", flush=True)
    measured = args.only in PROCESSOR
    for simulator in ([], ["--worst"]):
        bursts = {name: words for name, (words, told) in BURSTS.items() if told == simulator and args.only in name}
        for name, words in bursts.items():
            proxy = Gratis(args, args.left, *simulator)
            said, over = burst(proxy, words, args.left)
            proxy.end()
            ours += over
            print(f"{name} | Gratis | {said}", flush=True)
        if not bursts and (simulator or not measured):
            continue
        proxy = LiteLlm(args, *simulator)
        for name, words in bursts.items():
            for limit in LIMITS:
                said, _ = burst(proxy.limited(limit, args.left), words, args.left)
                print(f"{name} | LiteLLM, {limit} | {said}", flush=True)
        if measured and not simulator:
            for limit in LIMITS:
                print(f"{PROCESSOR} | LiteLLM, {limit} | {a_call(proxy.limited(limit, 10**9), args.calls)}", flush=True)
        proxy.end()
    if measured:
        proxy = Gratis(args, 10**9)
        print(f"{PROCESSOR} | Gratis | {a_call(proxy, 10 * args.calls)}", flush=True)
        proxy.end()
    return 0 if ours == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
