"""What the campaigns stand on: `gratis simulator`, `gratis serve` on its own ledger, `gratis load`, and what both ledgers say.

Standard library only; everything on 127.0.0.1. Not a campaign itself.
"""
import json
import os
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
    sys.exit(problem)


def resident(pid):
    """The resident memory of a process, in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class Site:
    """A ledger in a folder that is thrown away, the simulator, and what `gratis serve` is started with. `more` are settings as variables."""

    def __init__(self, gratis, model, grant, **more):
        self.program, self.model, self.grant = os.path.abspath(gratis), model, grant
        self.dir = tempfile.TemporaryDirectory(prefix="gratis-campaign-")
        self.proxy, self.admin, self.sim = free_port(), free_port(), free_port()
        self.env = dict(
            os.environ,
            GRATIS_SERVER__LISTEN=f"127.0.0.1:{self.proxy}",
            GRATIS_ADMIN__LISTEN=f"127.0.0.1:{self.admin}",
            GRATIS_STORE__STATE_DIR=os.path.join(self.dir.name, "state"),
            GRATIS_LOG__FILTER="error",
            GRATIS_UPSTREAM__DEFAULT__BASE_URL=f"http://127.0.0.1:{self.sim}/compatible-mode/v1",
            GRATIS_UPSTREAM__DEFAULT__ALLOW_PRIVATE="true",
            DASHSCOPE_API_KEY="sk-simulator",
            **more,
        )
        self.log = open(os.path.join(self.dir.name, "serve.log"), "wb")
        self.simulator = None

    def gratis(self, *words, **more):
        return subprocess.Popen([self.program, *words], env=self.env, **more)

    def prepare(self, *more):
        """Starts the simulator, with these words more, and makes the ledger."""
        words = ["simulator", "--listen", f"127.0.0.1:{self.sim}", "--model", self.model, *more]
        self.simulator = self.gratis(*words, stdout=self.log, stderr=self.log)
        wait(lambda: answers(f"http://127.0.0.1:{self.sim}/ledger"), 10, "the simulator does not answer")
        done = subprocess.run(
            [self.program, "init", "--balance", f"{self.model}={self.grant}/{self.grant}", "-o", "json"],
            env=self.env, capture_output=True, text=True, check=False,
        )
        if done.returncode != 0:
            sys.exit(f"gratis init failed: {done.stdout}{done.stderr}")
        self.key = json.loads(done.stdout)["api_key"]
        with open(os.path.join(self.dir.name, "state", "admin-token"), encoding="utf-8") as file:
            self.token = file.read().strip()

    def serve(self):
        serve = self.gratis("serve", stdout=self.log, stderr=self.log)
        wait(lambda: answers(f"http://127.0.0.1:{self.admin}/readyz"), 10, "gratis serve is not ready", serve, pause=0.004)
        return serve

    def load(self, *words, key=None, streamed=0.5):
        """`gratis load`; its report comes on its standard output."""
        return self.gratis(
            "load", "--target", f"http://127.0.0.1:{self.proxy}/v1", "--key", key or self.key, "--model", self.model,
            "--stream-share", str(streamed), *words, "-o", "json", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )

    def settled(self, seconds):
        """What the ledger says of the model once nothing is held any more."""
        wait(lambda: self.balance()["held"] == 0, seconds, "holds stay open")
        return self.balance()

    def balance(self):
        rows = get(f"http://127.0.0.1:{self.admin}/admin/v1/balances", self.token)["balances"]
        return next(row for row in rows if row["model"] == self.model)

    def charged(self):
        models = get(f"http://127.0.0.1:{self.sim}/ledger")["models"]
        return models.get(self.model, {"charged": 0})["charged"]

    def verdict(self, when, seconds=30):
        """Compares the two ledgers, once nothing is held: whether nothing was overspent or lost, and the share of the grant that is known.

            overspent = max(0, charged - granted)
            drift     = max(0, charged - spent - presumed) + max(0, spent - charged)
        """
        row = self.settled(seconds)
        charged, known = self.charged(), row["spent"] + row["presumed"]
        overspent = max(0, charged - row["granted"])
        drift = max(0, charged - known) + max(0, row["spent"] - charged)
        share = known / row["granted"]
        print(
            f"{when}: charged {charged:,}, spent {row['spent']:,}, presumed {row['presumed']:,} of {row['granted']:,}; "
            f"overspent {overspent}, drift {drift}, {share:.1%} spent or presumed",
            flush=True,
        )
        return overspent == 0 and drift == 0, share

    def end(self):
        if self.simulator is not None:
            self.simulator.kill()
            self.simulator.wait()
