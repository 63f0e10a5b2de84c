#!/usr/bin/env python3
"""Mutants of the pure rooms, by cargo-mutants: a sample of `--count` that `--seed` decides, one build at a time.

Prints how many were caught, missed, timed out or did not compile, and each that was missed. It exits with 1 below 95 in 100 caught.
Each mutant is a build and a run of the tests of its room: two hundred take hours.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys

ROOMS = ["src/ledger/**/*.rs", "src/ledger.rs", "src/dialect/**/*.rs", "src/dialect.rs"]
# The tests that know these rooms; the walk through every state is theirs as well.
TESTS = ["ledger::", "book::", "dialects", "vectors::"]
OUTPUT = pathlib.Path("target/mutants")


def files():
    return [argument for room in ROOMS for argument in ("--file", room)]


def listed():
    command = ["cargo", "mutants", "--list", "--json", *files()]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted(mutant["name"] for mutant in json.loads(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    mutants = listed()
    sample = sorted(random.Random(arguments.seed).sample(mutants, min(arguments.count, len(mutants))))
    print(f"{len(sample)} of {len(mutants)} mutants, seed {arguments.seed}", flush=True)
    chosen = "|".join(re.escape(name) for name in sample)
    command = ["cargo", "mutants", "--jobs", "1", "--output", str(OUTPUT), "--re", f"^({chosen})$", *files()]
    subprocess.run([*command, "--", "--lib", "--test", "it", "--", *TESTS], check=False)
    results = OUTPUT / "mutants.out"
    counted = {}
    for kind in ("caught", "missed", "timeout", "unviable"):
        text = (results / f"{kind}.txt").read_text() if (results / f"{kind}.txt").exists() else ""
        counted[kind] = [line for line in text.splitlines() if line]
    print({kind: len(names) for kind, names in counted.items()})
    for name in counted["missed"]:
        print("missed:", name)
    caught, missed = len(counted["caught"]) + len(counted["timeout"]), len(counted["missed"])
    return 0 if caught and caught * 100 >= (caught + missed) * 95 else 1


if __name__ == "__main__":
    sys.exit(main())
