#!/usr/bin/env python3
"""Mutants of the pure rooms, by cargo-mutants: a sample of `--count` that `--seed` decides, one build at a time.

    tests/campaigns/mutants.py --count 200

Each mutant is a build and a run of the quick tests of its room; what these miss is run once more against the slow ones and those
that meet the room from outside. It works on a copy of the last commit below `--output`, in batches; a batch that is done
is not run again, so that a run can be broken off and gone on with. Prints after each batch how many were caught, missed, timed out
or did not compile, and at the end each that was missed. It exits with 1 below 95 in 100 caught. Two hundred take two hours.
"""

import argparse
import collections
import dataclasses
import itertools
import json
import os
import pathlib
import random
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 10
# What a mutant may take: a loop without an end is caught by it.
TEST_SECONDS, BUILD_SECONDS = 240, 600
KINDS = ("caught", "missed", "timeout", "unviable")


# From outside: the request path, the stores and the admin API, where no foreign program has a part in it.
OUTSIDE = (
    "rules::", "rejections::", "request_path::", "families::", "ends::", "mixed::", "store_model::", "store_traits::", "websocket::",
    "admin::", "--skip", "replicas_", "--skip", "libraries::", "--skip", "cli::",
)


@dataclasses.dataclass(frozen=True)
class Room:
    """A pure room: its name, the filters of its quick tests, and of all that can catch a mutant of it."""

    name: str
    quick: tuple
    all: tuple

    def files(self):
        return ["--file", f"src/{self.name}.rs", "--file", f"src/{self.name}/**/*.rs"]


ROOMS = [
    Room("dialect", ("dialect", "vectors::", *"--skip clients:: --skip websocket:: --skip mixed --skip faults::".split()), OUTSIDE),
    Room("ledger", ("ledger::transcripts", "rules::", "--skip", "replicas_"), ("ledger::properties", "ledger::walk", *OUTSIDE)),
]


class Campaign:
    def __init__(self, arguments):
        self.output = pathlib.Path(arguments.output).resolve()
        self.tree = self.output / "tree"
        self.count, self.seed = arguments.count, arguments.seed
        build = arguments.build or self.output / "build"
        self.environment = dict(os.environ, CARGO_TARGET_DIR=str(build), CARGO_INCREMENTAL="1")

    def copy(self):
        """The last commit, in a folder that is the same each time, so that a build goes on from the one before.

        Its files are new: cargo must not take what was built of an older copy for what is built of this one.
        """
        self.tree.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen(["git", "-C", str(ROOT), "archive", "HEAD"], stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "x", "-m", "-C", str(self.tree)], stdin=archive.stdout, check=True)
        # Nobody reads a backtrace here, and without what it needs a build takes less.
        (self.tree / ".cargo").mkdir(exist_ok=True)
        (self.tree / ".cargo/config.toml").write_text("[profile.dev.package.gratis]\ndebug = 0\n")

    def cargo(self, *words, **more):
        return subprocess.run(["cargo", *words], cwd=self.tree, env=self.environment, text=True, check=False, **more)

    def sample(self):
        """For each room its mutants, in an order that the seed decides."""
        listed = [(room, mutant["name"]) for room in ROOMS for mutant in self.listed(room)]
        chosen = random.Random(self.seed).sample(sorted(listed, key=lambda each: each[1]), min(self.count, len(listed)))
        print(f"{len(chosen)} of {len(listed)} mutants, seed {self.seed}", flush=True)
        return {room: [name for of, name in chosen if of is room] for room in ROOMS}

    def listed(self, room):
        found = self.cargo("mutants", "--list", "--json", *room.files(), stdout=subprocess.PIPE)
        return json.loads(found.stdout)

    def unchanged(self):
        """The tests pass where nothing is changed: else each mutant would be caught by it."""
        for tests in [tests for room in ROOMS for tests in (room.quick, room.all)]:
            if self.cargo("test", "--lib", "--test", "it", "--", "--quiet", *tests).returncode != 0:
                sys.exit("the tests do not pass without a mutant")

    def batch(self, room, names, tests, place):
        """What became of these mutants, by kind."""
        results = self.output / place
        done = results / "mutants.out"
        if not (results / "done").exists():
            results.mkdir(parents=True, exist_ok=True)
            chosen = "|".join(re.escape(name) for name in names)
            # A file with unit tests has them asked as well.
            library = ["--lib"] if any("cfg(test)" in (self.tree / name.split(":")[0]).read_text() for name in names) else []
            self.cargo(
                "mutants", "--in-place", "--baseline", "skip", "--timeout", str(TEST_SECONDS), "--build-timeout", str(BUILD_SECONDS),
                "--output", str(results), "--re", f"^({chosen})$", *room.files(),
                "--", *library, "--test", "it", "--", *tests,
            )
        found = {kind: (done / f"{kind}.txt").read_text().splitlines() for kind in KINDS}
        if sum(map(len, found.values())) != len(names):
            sys.exit(f"not every mutant of {results} has a result")
        (results / "done").touch()
        return found

    def run(self):
        self.copy()
        sample = self.sample()
        self.unchanged()
        counted = {kind: [] for kind in KINDS}
        batches = {room: list(itertools.batched(names, BATCH)) for room, names in sample.items()}
        for number in range(max(map(len, batches.values()))):
            for room in ROOMS:
                if number >= len(batches[room]):
                    continue
                place = f"seed-{self.seed}/{room.name}-{number:03}"
                found = self.batch(room, batches[room][number], room.quick, place)
                if found["missed"]:
                    again = self.batch(room, found["missed"], room.all, place + "-all")
                    found = {kind: again[kind] + (found[kind] if kind != "missed" else []) for kind in KINDS}
                for kind in KINDS:
                    counted[kind] += found[kind]
                print({kind: len(names) for kind, names in counted.items()}, flush=True)
                for name in found["missed"]:
                    print("missed:", name, flush=True)
        return counted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", default=ROOT / "target/mutants")
    parser.add_argument("--build", help="cargo's folder; `build` below the output where it is not given")
    counted = Campaign(parser.parse_args()).run()
    by_file = collections.Counter(name.split(":")[0] for name in counted["missed"])
    print("missed in each file:", dict(by_file.most_common()))
    caught, missed = len(counted["caught"]) + len(counted["timeout"]), len(counted["missed"])
    return 0 if caught and caught * 100 >= (caught + missed) * 95 else 1


if __name__ == "__main__":
    sys.exit(main())
