#!/usr/bin/env python3
"""Mutants of the pure rooms, by cargo-mutants: a sample of `--count` that `--seed` decides, one build at a time.

    tests/campaigns/mutants.py --count 200

The rooms and their quick tests are built alone, in seconds; in the end what these tests missed is run once more against the slow
ones and those that meet the room from outside. It works on copies of the last commit below `--output`; a mutant that has a result
there is not run again, so that a run can be broken off and gone on with. Prints how many were caught, missed, timed out or did not
compile so far, and each that was not caught. It exits with 1 below 95 in 100 caught. Two hundred take an hour on two cores.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import random
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What a mutant may take: a loop without an end is caught by it.
TEST_SECONDS, BUILD_SECONDS = 240, 600
KINDS = ("caught", "missed", "timeout", "unviable")


# From outside: the request path, the stores and the admin API, where no foreign program has a part in it.
OUTSIDE = (
    "rules::", "rejections::", "request_path::", "families::", "ends::", "mixed::", "store_model::", "store_traits::", "websocket::",
    "admin::", "--skip", "replicas_", "--skip", "libraries::", "--skip", "cli::",
)


# The two rooms name no other one, so that they can be a library of their own, and these modules of `tests/it` need nothing else.
LIBRARY = "//! The pure rooms alone.\n#![allow(warnings)]\npub mod dialect;\npub mod ledger;\n"
QUICK = [
    "book", "dialects", "dialects_apis", "dialects_facts", "dialects_frames", "dialects_input", "dialects_oracle", "dialects_reply", "dialects_route",
    "dialects_socket", "dialects_splice", "dialects_stream", "dialects_strip", "dialects_thinking", "dialects_usage",
    "ledger",
]
# What these need of larger modules.
INLINE = "mod support {\n    pub mod vectors;\n}\nmod fuzz {\n    pub mod facts;\n}\nmod mixed {\n    mod calls;\n    pub(crate) use calls::{calls, tasks, wav_of};\n}\n"


@dataclasses.dataclass(frozen=True)
class Room:
    """A pure room: its name, the filters of its quick tests, and of all that can catch a mutant of it."""

    name: str
    quick: tuple
    all: tuple

    def files(self):
        return ["--file", f"src/{self.name}.rs", "--file", f"src/{self.name}/**/*.rs"]


ROOMS = [
    Room("dialect", ("dialect",), ("vectors::", *OUTSIDE)),
    Room("ledger", ("ledger::transcripts", "ledger::words"), ("ledger::properties", "ledger::walk", *OUTSIDE)),
]


@dataclasses.dataclass(frozen=True)
class Tree:
    """A copy of the project, and the test of it that is run."""

    path: pathlib.Path
    test: str

    def copy(self):
        """The last commit, in a folder that is the same each time, so that a build goes on from the one before.

        Its files are new: cargo must not take what was built of an older copy for what is built of this one.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen(["git", "-C", str(ROOT), "archive", "HEAD"], stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "x", "-m", "-C", str(self.path)], stdin=archive.stdout, check=True)
        # Nobody reads a backtrace here, and without what it needs a build takes less.
        (self.path / ".cargo").mkdir(exist_ok=True)
        (self.path / ".cargo/config.toml").write_text("[profile.dev.package.gratis]\ndebug = 0\n")

    def only_the_rooms(self):
        """Leaves the two rooms and their quick tests: a build takes seconds."""
        (self.path / "src/lib.rs").write_text(LIBRARY)
        (self.path / "src/main.rs").unlink()
        manifest = (self.path / "Cargo.toml").read_text().replace('default-run = "gratis"\n', "")
        manifest += f'\n[[test]]\nname = "{self.test}"\npath = "tests/it/{self.test}.rs"\n'
        (self.path / "Cargo.toml").write_text(manifest)
        modules = "".join(f"mod {name};\n" for name in QUICK)
        text = f"//! The quick tests of the pure rooms.\n#![allow(warnings)]\n{modules}{INLINE}"
        (self.path / f"tests/it/{self.test}.rs").write_text(text)


class Campaign:
    def __init__(self, arguments):
        self.output = pathlib.Path(arguments.output).resolve()
        self.pure, self.whole = Tree(self.output / "pure", "quick"), Tree(self.output / "whole", "it")
        self.count, self.seed = arguments.count, arguments.seed
        build = arguments.build or self.output / "build"
        # How many mutants a room has.
        self.length = {}
        self.environment = dict(os.environ, CARGO_TARGET_DIR=str(build), CARGO_INCREMENTAL="1")

    def cargo(self, tree, *words, **more):
        return subprocess.run(["cargo", *words], cwd=tree.path, env=self.environment, text=True, check=False, **more)

    def sample(self):
        """Mutants as a room, a place in the list of the room's, and a name; in an order that the seed decides."""
        listed = [(room, place, name) for room in ROOMS for place, name in enumerate(self.listed(room))]
        chosen = random.Random(self.seed).sample(listed, min(self.count, len(listed)))
        print(f"{len(chosen)} of {len(listed)} mutants, seed {self.seed}", flush=True)
        return chosen

    def listed(self, room):
        found = self.cargo(self.whole, "mutants", "--list", "--json", *room.files(), stdout=subprocess.PIPE)
        names = [mutant["name"] for mutant in json.loads(found.stdout)]
        self.length[room] = len(names)
        return names

    def unchanged(self, tree, tests):
        """The tests pass where nothing is changed: else each mutant would be caught by it."""
        if self.cargo(tree, "test", "--test", tree.test, "--", "--quiet", *tests, stdout=subprocess.DEVNULL).returncode != 0:
            sys.exit(f"the tests in {tree.path} do not pass without a mutant: {tests}")

    def one(self, tree, room, place, name, tests, folder):
        """What became of a mutant."""
        results = self.output / f"seed-{self.seed}" / folder
        done, kept = results / "mutants.out", results / "result.json"
        # Another commit may have another mutant in this place.
        if not (kept.exists() and json.loads(kept.read_text())["name"] == name):
            results.mkdir(parents=True, exist_ok=True)
            # A file with unit tests has them asked as well.
            library = ["--cargo-arg=--lib"] if "cfg(test)" in (tree.path / name.split(":")[0]).read_text() else []
            # It is chosen by its place: the filter by name lets every deleted field pass (cargo-mutants 27.1).
            self.cargo(
                tree, "mutants", "--in-place", "--baseline", "skip", "--timeout", str(TEST_SECONDS), "--build-timeout", str(BUILD_SECONDS),
                "--output", str(results), "--shard", f"{place}/{self.length[room]}", "--sharding", "round-robin", *room.files(),
                *library, f"--cargo-arg=--test={tree.test}", "--", "--", *tests, stdout=subprocess.DEVNULL,
            )
            found = {line: kind for kind in KINDS for line in (done / f"{kind}.txt").read_text().splitlines()}
            if list(found) != [name]:
                sys.exit(f"{name} was wanted, and this has a result: {found}")
            kept.write_text(json.dumps({"name": name, "kind": found[name]}))
        return json.loads(kept.read_text())["kind"]

    def run(self):
        """Quick tests first; in the end all tests judge what these missed."""
        for tree in (self.pure, self.whole):
            tree.copy()
        self.pure.only_the_rooms()
        sample = self.sample()
        for room in ROOMS:
            self.unchanged(self.pure, room.quick)
        first = self.each(self.pure, sample, lambda room: room.quick, "")
        again = [mutant for mutant in sample if mutant[2] in first["missed"]]
        for room in {room for room, *_ in again}:
            self.unchanged(self.whole, room.all)
        second = self.each(self.whole, again, lambda room: room.all, "-all")
        return {kind: second[kind] + (first[kind] if kind != "missed" else []) for kind in KINDS}

    def each(self, tree, mutants, tests, mark):
        found = {kind: [] for kind in KINDS}
        for number, (room, place, name) in enumerate(mutants, 1):
            kind = self.one(tree, room, place, name, tests(room), f"{room.name}-{place}{mark}")
            found[kind].append(name)
            if kind != "caught":
                print(f"{kind}: {name}", flush=True)
            if number % 10 == 0 or number == len(mutants):
                print({kind: len(names) for kind, names in found.items()}, flush=True)
        return found


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
