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
import random
import signal
import sys
import time

from ground import Site


class Campaign:
    def __init__(self, args):
        self.args = args
        self.site = Site(
            args.gratis, args.model, args.grant,
            GRATIS_STORE__LEASE="3s",
            GRATIS_QUOTA__PRESUMED_BREAKER="1000000",
            # Every kill presumes the calls in progress at their holds: small ones, or a few kills would use everything up.
            GRATIS_QUOTA__MAX_OUTPUT_DEFAULT="512",
        )
        self.restarts = []
        self.calls = 0

    def start(self):
        begun = time.monotonic()
        serve = self.site.serve()
        self.restarts.append(time.monotonic() - begun)
        return serve

    def load(self, requests, concurrency, aborts):
        return self.site.load("--requests", str(requests), "--concurrency", str(concurrency), "--abort-share", str(aborts))

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
        print(f"seed {self.args.seed}, {self.args.rounds} rounds, grant {self.args.grant:,} {self.args.model}", flush=True)
        try:
            self.site.prepare()
            for number in range(1, self.args.rounds + 1):
                self.round(chance)
                if number % 20 == 0 or number == self.args.rounds:
                    print(f"  {number} rounds, {self.calls} calls completed, {self.site.charged():,} tokens charged", flush=True)
            serve = self.start()
            after_kills = self.site.verdict("after the kills")
            self.use_up()
            at_the_end = self.site.verdict("used up")
            serve.send_signal(signal.SIGTERM)
            clean = serve.wait(timeout=60) == 0
            slowest = max(self.restarts)
            middle = sorted(self.restarts)[len(self.restarts) // 2]
            print(f"{self.calls} calls completed; restart to ready: median {middle * 1000:.0f} ms, slowest {slowest * 1000:.0f} ms")
            return after_kills[0] and at_the_end[0] and at_the_end[1] >= 0.95 and slowest < 1.0 and clean
        finally:
            self.site.end()


def main():
    parser = argparse.ArgumentParser(description="kill -9 runs under load", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--gratis", default="target/release/gratis")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--grant", type=int, help="tokens; 60,000 a round where it is not given, so that every round has calls to kill")
    parser.add_argument("--model", default="qwen-plus")
    parser.add_argument("--longest", type=float, default=0.4, help="seconds from ready to the kill, at most")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.grant = args.grant or 60_000 * args.rounds
    good = Campaign(args).run()
    print("kill runs: " + ("passed" if good else "FAILED"))
    sys.exit(0 if good else 1)


main()
