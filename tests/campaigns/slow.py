#!/usr/bin/env python3
"""Slow connections: slowhttptest opens `--connections` of them that never finish their head, their body, or their reading, while
other clients go on calling.

    tests/campaigns/slow.py --gratis target/release/gratis --connections 10000

Prints for each kind the slow-down of the 99th percentile of the other clients, and the memory of the process before and after. It
exits with 1 where one of their calls failed. Needs slowhttptest (apt) and twice as many descriptors as connections; everything is
on 127.0.0.1.
"""
import argparse
import http.client
import json
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gratis", default="target/release/gratis")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=500)
    arguments = parser.parse_args()
    words = [arguments.gratis, "demo", "--json", "--grant", "qwen-flash=1000000000"]
    demo = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        made = json.loads(demo.stdout.readline())
        host, key = made["origin"].split("://")[1], made["api_key"]
        quiet = p99(host, key, arguments.calls)
        print(f"alone: p99 {quiet:.1f} ms, {resident(demo.pid)} MiB", flush=True)
        for kind, options in KINDS.items():
            slow = ["slowhttptest", *options, "-c", str(arguments.connections), "-r", "2000", "-l", str(arguments.seconds)]
            slow += ["-u", f"{made['origin']}/v1/models", "-p", "3"]
            crowd = subprocess.Popen(slow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(min(arguments.seconds / 2, arguments.connections / 2000 + 1))
            beside = p99(host, key, arguments.calls)
            memory = resident(demo.pid)
            crowd.wait()
            print(f"{arguments.connections} slow ({kind}): p99 {beside:.1f} ms, {memory} MiB", flush=True)
        print(f"after: p99 {p99(host, key, arguments.calls):.1f} ms, {resident(demo.pid)} MiB")
    finally:
        demo.terminate()
        demo.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
