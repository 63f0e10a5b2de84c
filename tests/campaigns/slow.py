#!/usr/bin/env python3
"""Slow connections: slowhttptest opens `--connections` of them that never finish their head, their body, or their reading, while
other clients go on calling.

    tests/campaigns/slow.py --gratis target/release/gratis --connections 10000

Prints for each kind the 99th percentile of the other clients, how it changed from those who were alone in the same round, and the
memory of the process, simulator included. The median of `--rounds` counts: what else the machine does comes and goes. It exits with
1 where one of their calls failed. Needs slowhttptest (apt) and twice as many descriptors as connections; everything is
on 127.0.0.1.
"""
import argparse
import http.client
import json
import statistics
import subprocess
import sys
import time

KINDS = {
    "head": ["-H", "-i", "5"],
    "body": ["-B", "-i", "5", "-s", "8192"],
    "reader": ["-X", "-w", "16", "-y", "32", "-n", "5", "-z", "16"],
}


def call(host, key):
    """One plain call; its seconds."""
    body = json.dumps({"model": "qwen-flash", "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    begun = time.monotonic()
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("POST", "/v1/chat/completions", body, headers)
    reply = connection.getresponse()
    reply.read()
    connection.close()
    if reply.status != 200:
        raise RuntimeError(f"a call was answered with {reply.status}")
    return time.monotonic() - begun


def p99(host, key, calls):
    taken = sorted(call(host, key) for _ in range(calls))
    return 1000 * taken[int(len(taken) * 0.99) - 1]


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))


def slow(origin, options, arguments):
    """The slow connections, once most of them are open."""
    words = ["slowhttptest", *options, "-c", str(arguments.connections), "-r", "2000", "-l", str(arguments.seconds)]
    words += ["-u", f"{origin}/v1/models", "-p", "3"]
    crowd = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(min(arguments.seconds / 2, arguments.connections / 2000 + 1))
    return crowd


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gratis", default="target/release/gratis")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    words = [arguments.gratis, "demo", "--json", "--grant", "qwen-flash=1000000000"]
    demo = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        made = json.loads(demo.stdout.readline())
        host, key = made["origin"].split("://")[1], made["api_key"]
        seen = {kind: [] for kind in ["alone", *KINDS]}
        for _ in range(arguments.rounds):
            for kind in seen:
                crowd = slow(made["origin"], KINDS[kind], arguments) if kind in KINDS else None
                seen[kind].append((p99(host, key, arguments.calls), resident(demo.pid)))
                if crowd is not None:
                    crowd.wait()
                print(f"  {kind}: p99 {seen[kind][-1][0]:.1f} ms, {seen[kind][-1][1]} MiB", flush=True)
        for kind, each in seen.items():
            change = statistics.median(now / alone - 1 for (now, _), (alone, _) in zip(each, seen["alone"]))
            middle, memory = statistics.median(taken for taken, _ in each), max(memory for _, memory in each)
            print(f"{kind}: p99 {middle:.1f} ms, {change:+.0%}; at most {memory} MiB")
    finally:
        demo.terminate()
        demo.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
