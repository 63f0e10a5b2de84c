#!/usr/bin/env python3
"""A soak: `gratis serve` for `--minutes` at half of what the machine does, with plain, streamed and aborted calls.

    tests/campaigns/soak.py --gratis target/release/gratis --minutes 30

What the machine does is measured first: closed loop, for ten seconds. Then the load comes at half that rate, open loop. Prints the
resident memory of each minute, by how much it grew from the second third to the last (ten minutes each of thirty), and what the two
ledgers say at the end. Exit status 0 only if it grew by at most 2 %, no call failed, and overspent and drift are 0.
"""
import argparse
import json
import os
import signal
import statistics
import sys
import time

from ground import Site, resident

MIX = ["--concurrency", "64", "--abort-share", "0.1", "--max-tokens", "200"]
# A minute is looked at so many times and the median counts, so that one burst does not make it.
LOOKS = 12


def report_of(load, seconds):
    said, _ = load.communicate(timeout=seconds)
    return json.loads(said)


def minute(pid, until):
    """The resident memory until then, in KiB: its median, and the most that was seen; and how many descriptors were open, its median.
    Memory follows the connections, and those how quickly calls are answered."""
    looks, descriptors = [], []
    while not looks or time.monotonic() < until:
        looks.append(resident(pid))
        descriptors.append(len(os.listdir(f"/proc/{pid}/fd")))
        time.sleep(min(60 / LOOKS, max(0.0, until - time.monotonic())))
    return statistics.median(looks), max(looks), statistics.median(descriptors)


def soak(site, serve, minutes, rate):
    most = report_of(site.load(*MIX, "--duration", "10s"), 120)["completed"] / 10
    rate = rate or most / 2
    print(f"closed loop {most:.0f} calls a second; from now on {rate:.0f}", flush=True)
    begun = time.monotonic()
    load = site.load(*MIX, "--rate", f"{rate:.0f}", "--duration", f"{minutes}m")
    memory = []
    for number in range(1, minutes + 1):
        middle, most, descriptors = minute(serve.pid, begun + 60 * number)
        memory.append(middle)
        print(
            f"  minute {number}: {middle / 1024:.1f} MiB, at most {most / 1024:.1f}, {descriptors:.0f} descriptors; "
            f"{site.charged():,} tokens charged",
            flush=True,
        )
    report = report_of(load, 300)
    third = max(1, minutes // 3)
    # After the first third; a minute has as much more or less as it had calls in flight, so many of them are compared with as many.
    before, after = (statistics.median(part) for part in (memory[-2 * third : -third] or memory, memory[-third:]))
    growth = after / before - 1
    print(
        f"{report['completed']} calls completed, {report['aborted']} aborted of {report['requests']}, errors {report['errors']}; "
        f"memory {before / 1024:.1f} MiB in the second third, {after / 1024:.1f} MiB in the last: growth {growth:+.2%}"
    )
    return growth <= 0.02 and not report["errors"]


def main():
    parser = argparse.ArgumentParser(description="a soak at half load", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--gratis", default="target/release/gratis")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--rate", type=float, help="calls a second; half of what the machine does where it is not given")
    parser.add_argument("--model", default="qwen-plus")
    args = parser.parse_args()
    # More than any machine uses up.
    site = Site(args.gratis, args.model, 1_000_000_000_000)
    try:
        site.prepare()
        serve = site.serve()
        steady = soak(site, serve, args.minutes, args.rate)
        agrees, _ = site.verdict("at the end")
        serve.send_signal(signal.SIGTERM)
        clean = serve.wait(timeout=60) == 0
    finally:
        site.end()
    good = steady and agrees and clean
    print("soak: " + ("passed" if good else "FAILED"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
