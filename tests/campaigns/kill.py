#!/usr/bin/env python3
"""Kill runs: `gratis serve` is killed with SIGKILL at random instants under load; the simulator lives on and is the judge.

    tests/campaigns/kill.py --gratis target/release/gratis --rounds 200

Each round starts `gratis serve` on the same ledger, waits until it is ready, and kills it at a random instant while a load of
streamed and plain calls, some of them aborted, is running. At the end the ledger is compared with what the simulator charged:

    overspent = max(0, charged - granted)
    drift     = max(0, charged - spent - presumed) + max(0, spent - charged)

and the rest of the grant is used up, so that at least 95 % of it is spent or presumed. Exit status 0 only if overspent and drift
are 0, that share is reached, and every restart took less than a second. Standard library only; everything on 127.0.0.1.
"""
import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, token=None):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=5) as reply:
        return json.load(reply)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:
            return reply.status == 200
    except OSError:
        return False


class Campaign:
    def __init__(self, args):
        self.args = args
        self.dir = tempfile.TemporaryDirectory(prefix="gratis-kill-")
        self.proxy, self.admin, self.sim = free_port(), free_port(), free_port()
        self.model = args.model
        self.env = dict(
            os.environ,
            GRATIS_SERVER__LISTEN=f"127.0.0.1:{self.proxy}",
            GRATIS_ADMIN__LISTEN=f"127.0.0.1:{self.admin}",
            GRATIS_STORE__STATE_DIR=os.path.join(self.dir.name, "state"),
            GRATIS_STORE__LEASE="3s",
            GRATIS_LOG__FILTER="error",
            GRATIS_QUOTA__PRESUMED_BREAKER="1000000",
            # Every kill presumes the calls in progress at their holds: small ones, or a few kills would use everything up.
            GRATIS_QUOTA__MAX_OUTPUT_DEFAULT="512",
            GRATIS_UPSTREAM__DEFAULT__BASE_URL=f"http://127.0.0.1:{self.sim}/compatible-mode/v1",
            GRATIS_UPSTREAM__DEFAULT__ALLOW_PRIVATE="true",
            DASHSCOPE_API_KEY="sk-simulator",
        )
        self.log = open(os.path.join(self.dir.name, "serve.log"), "wb")
        self.restarts = []
        self.calls = 0

    def gratis(self, *words, **more):
        return subprocess.Popen([self.args.gratis, *words], env=self.env, **more)

    def prepare(self):
        self.simulator = self.gratis("simulator", "--listen", f"127.0.0.1:{self.sim}", "--model", self.model, stdout=self.log, stderr=self.log)
        wait(lambda: answers(f"http://127.0.0.1:{self.sim}/ledger"), 10, "the simulator does not answer")
        granted = self.args.grant
        done = subprocess.run(
            [self.args.gratis, "init", "--balance", f"{self.model}={granted}/{granted}", "-o", "json"],
            env=self.env, capture_output=True, text=True, check=False,
        )
        if done.returncode != 0:
            sys.exit(f"gratis init failed: {done.stdout}{done.stderr}")
        made = json.loads(done.stdout)
        self.key = made["api_key"]
        with open(os.path.join(self.dir.name, "state", "admin-token"), encoding="utf-8") as file:
            self.token = file.read().strip()

    def start(self):
        begun = time.monotonic()
        serve = self.gratis("serve", stdout=self.log, stderr=self.log)
        wait(lambda: answers(f"http://127.0.0.1:{self.admin}/readyz"), 10, "gratis serve is not ready", serve, pause=0.004)
        self.restarts.append(time.monotonic() - begun)
        return serve

    def load(self, requests, concurrency, aborts):
        return self.gratis(
            "load", "--target", f"http://127.0.0.1:{self.proxy}", "--key", self.key, "--model", self.model,
            "--requests", str(requests), "--concurrency", str(concurrency), "--stream-share", "0.5",
            "--abort-share", str(aborts), "-o", "json", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )

    def balance(self):
        rows = get(f"http://127.0.0.1:{self.admin}/admin/v1/balances", self.token)["balances"]
        return next(row for row in rows if row["model"] == self.model)

    def charged(self):
        models = get(f"http://127.0.0.1:{self.sim}/ledger")["models"]
        return models.get(self.model, {"charged": 0})["charged"]

    def round(self, chance):
        serve = self.start()
        load = self.load(100_000, 32, 0.2)
        time.sleep(chance.uniform(0.0, self.args.longest))
        serve.send_signal(signal.SIGKILL)
        serve.wait()
        load.send_signal(signal.SIGINT)
        report, _ = load.communicate(timeout=60)
        self.calls += json.loads(report)["completed"] if report else 0

    def use_up(self):
        """Plain calls until the free quota is refused."""
        for _ in range(400):
            load = self.load(400, 16, 0.0)
            report, _ = load.communicate(timeout=300)
            report = json.loads(report)
            self.calls += report["completed"]
            if report["completed"] == 0:
                return

    def run(self):
        chance = random.Random(self.args.seed)
        print(f"seed {self.args.seed}, {self.args.rounds} rounds, grant {self.args.grant:,} {self.model}", flush=True)
        self.prepare()
        try:
            for number in range(1, self.args.rounds + 1):
                self.round(chance)
                if number % 20 == 0 or number == self.args.rounds:
                    print(f"  {number} rounds, {self.calls} calls completed, {self.charged():,} tokens charged", flush=True)
            serve = self.start()
            held = wait(lambda: self.balance()["held"] == 0 or None, 30, "holds stay open")
            after_kills = self.verdict("after the kills")
            self.use_up()
            wait(lambda: self.balance()["held"] == 0 or None, 30, "holds stay open")
            at_the_end = self.verdict("used up")
            serve.send_signal(signal.SIGTERM)
            clean = serve.wait(timeout=60) == 0
            slowest = max(self.restarts)
            middle = sorted(self.restarts)[len(self.restarts) // 2]
            print(f"restart to ready: median {middle * 1000:.0f} ms, slowest {slowest * 1000:.0f} ms")
            return bool(held) and after_kills[0] and at_the_end[0] and at_the_end[1] >= 0.95 and slowest < 1.0 and clean
        finally:
            self.simulator.kill()
            self.simulator.wait()

    def verdict(self, when):
        row, charged = self.balance(), self.charged()
        known = row["spent"] + row["presumed"]
        overspent = max(0, charged - row["granted"])
        drift = max(0, charged - known) + max(0, row["spent"] - charged)
        share = known / row["granted"]
        print(
            f"{when}: charged {charged:,}, spent {row['spent']:,}, presumed {row['presumed']:,} of {row['granted']:,}; "
            f"overspent {overspent}, drift {drift}, {share:.1%} spent or presumed, {self.calls} calls completed",
            flush=True,
        )
        return overspent == 0 and drift == 0, share


def wait(ready, seconds, problem, process=None, pause=0.02):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            value = ready()
        except OSError:
            value = None
        if value:
            return value
        if process is not None and process.poll() is not None:
            break
        time.sleep(pause)
    sys.exit(f"{problem} (the log is above)")


def main():
    parser = argparse.ArgumentParser(description="kill -9 runs under load", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--gratis", default="target/release/gratis")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--grant", type=int, help="tokens; 60,000 a round where it is not given, so that every round has calls to kill")
    parser.add_argument("--model", default="qwen-plus")
    parser.add_argument("--longest", type=float, default=0.4, help="seconds from ready to the kill, at most")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.gratis = os.path.abspath(args.gratis)
    args.grant = args.grant or 60_000 * args.rounds
    good = Campaign(args).run()
    print("kill runs: " + ("passed" if good else "FAILED"))
    sys.exit(0 if good else 1)


main()
