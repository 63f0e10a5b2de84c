#!/usr/bin/env python3
"""Large bodies: `--clients` clients send 10 MiB each at the same time to a Gratis that has `--memory` MiB.

    tests/campaigns/large.py --gratis target/release/gratis --clients 2000 --memory 256

Where control groups of version 1 can be made (as root), the limit is that of a group, so that the kernel kills what is over it;
elsewhere it is `limits.memory`. Prints how many were served and refused, the most memory that was resident, and how long small
calls beside them took. It exits with 1 where the process died or went over `limits.memory`, where a client was answered with anything else
than 200 and 503 (0 = cut off while it was still sending, so that the refusal was lost on the way), where a small call beside them was not served or refused so, or where large calls were not served within a minute
after the wave.
Everything is on 127.0.0.1; needs as many descriptors as clients.
"""
import argparse
import asyncio
import collections
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import time

RECOVERS_WITHIN = 60
GROUP = pathlib.Path("/sys/fs/cgroup/memory/gratis-large")
CONFIG = """
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
state_dir = "state"
[limits]
key_in_flight = 100000
[upstream.default]
base_url = "{upstream}/compatible-mode/v1"
allow_private = true
"""


def request(key, size):
    call = {"model": "qwen-max", "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}], "user": "x" * size}
    body = json.dumps(call).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: gratis\r\nauthorization: Bearer {key}\r\n"
    return f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def call(port, bytes_):
    """The status of one call on a connection of its own; 0 where it ended without one."""
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
    plug.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(plug, ("127.0.0.1", port))
        writing = asyncio.ensure_future(loop.sock_sendall(plug, bytes_))
        try:
            reply = await asyncio.wait_for(loop.sock_recv(plug, 4096), 120)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        return int(reply.split(b" ", 2)[1]) if reply else 0
    except (OSError, asyncio.TimeoutError):
        return 0
    finally:
        plug.close()


async def small_calls(port, key, over, seen, taken):
    while not over.is_set():
        begun = time.monotonic()
        seen[await call(port, request(key, 0))] += 1
        taken.append(time.monotonic() - begun)
        await asyncio.sleep(0.02)


async def wave(port, key, clients):
    over, small, taken = asyncio.Event(), collections.Counter(), []
    beside = asyncio.create_task(small_calls(port, key, over, small, taken))
    large = request(key, (10 << 20) - 1000)
    seen = collections.Counter(await asyncio.gather(*(call(port, large) for _ in range(clients))))
    over.set()
    await beside
    # Connections that end give their memory back, and it is looked at once a second.
    begun = time.monotonic()
    while await call(port, large) != 200 and time.monotonic() < begun + RECOVERS_WITHIN:
        await asyncio.sleep(0.05)
    recovered = time.monotonic() - begun
    after = collections.Counter([await call(port, large) for _ in range(10)])
    return seen, small, sorted(taken), (recovered, after)


def line_of(process, mark):
    for line in process.stderr:
        if mark in line:
            return line
    sys.exit(f"{mark!r} never came")


def peak(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in text.splitlines() if line.startswith("VmHWM"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gratis", default="target/release/gratis")
    parser.add_argument("--clients", type=int, default=2_000)
    parser.add_argument("--memory", type=int, default=256)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gratis = str(pathlib.Path(arguments.gratis).resolve())
    folder = tempfile.TemporaryDirectory()
    words = [gratis, "simulator", "--listen", "127.0.0.1:0"]
    simulator = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    serve, grouped = None, False
    try:
        upstream = next(word for word in simulator.stdout.readline().split() if word.startswith("http://")).split("/v1")[0]
        (pathlib.Path(folder.name) / "gratis.toml").write_text(CONFIG.format(upstream=upstream.split("/compatible")[0]))
        environment = os.environ | {"DASHSCOPE_API_KEY": "sk-large", "GRATIS_CONFIG": "gratis.toml"}
        init = [gratis, "init", "--balance", "qwen-max=900,000,000/900,000,000", "-o", "json"]
        made = subprocess.run(init, cwd=folder.name, env=environment, capture_output=True, text=True, check=True)
        key = json.loads(made.stdout)["api_key"]
        try:
            GROUP.mkdir(exist_ok=True)
            (GROUP / "memory.limit_in_bytes").write_text(str(arguments.memory << 20))
            grouped = True
        except OSError:
            environment["GRATIS_LIMITS__MEMORY"] = f"{arguments.memory}MiB"
        enter = f"echo $$ > {GROUP}/cgroup.procs; " if grouped else ""
        serve = subprocess.Popen(
            ["sh", "-c", f'{enter}exec "$0" serve', gratis],
            cwd=folder.name, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        port = int(line_of(serve, "clients:").split("127.0.0.1:")[1].split("/")[0])
        line_of(serve, "operators:")
        # What it says from here on nobody reads.
        drain = subprocess.Popen(["cat"], stdin=serve.stderr, stdout=subprocess.DEVNULL)
        seen, small, taken, (recovered, after) = asyncio.run(wave(port, key, arguments.clients))
        drain.terminate()
        alive = serve.poll() is None
        most = peak(serve.pid) if alive else 0
    finally:
        for process in (serve, simulator):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait()
        if grouped:
            GROUP.rmdir()
    print(f"limit of {arguments.memory} MiB by {'control group' if grouped else 'limits.memory'}, most used {most} MiB")
    print(f"{arguments.clients} large calls at once: {dict(seen)}; {sum(small.values())} small beside them: {dict(small)}")
    print(f"small calls took {1000 * taken[len(taken) // 2]:.0f} ms at the median")
    print(f"large ones are served again {recovered:.2f} s after the wave; 10 of them: {dict(after)}")
    # Pages of the program's file are in the figure, and the group can do without them.
    within = grouped or most <= arguments.memory
    sound = alive and within and set(seen) <= {0, 200, 503} and set(small) <= {200, 503} and set(after) == {200}
    if not sound:
        sys.exit("FAILED")


if __name__ == "__main__":
    main()
