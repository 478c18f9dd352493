"""Runs all checks against the endpoint that AWS_ENDPOINT_URL_EC2 names.

The endpoint's VPC must be as `world.toml` describes, with nodes as `tests/foreign/main.rs` adds
them. Prints a line per failed check and closes with `N passed, N failed`.
"""

import sys
import traceback

from judge import (
    assigning,
    attaching,
    changing,
    creating,
    describing,
    exhausting,
    filtering,
    limits,
    reserving,
    signing,
    wire,
)
from judge.aws import CHECKS, World

# What is checked, in this order.
TOPICS = [
    wire, signing, creating, attaching, limits, assigning, reserving, exhausting, changing,
    describing, filtering,
]

# Fewer checks than this is a mistake in the line above.
AT_LEAST = 80


def main(wanted):
    world = World()
    passed, failed = 0, 0
    for function in CHECKS:
        sentence = function.__name__.replace("_", " ")
        if not all(word in sentence for word in wanted):
            continue
        try:
            function(world)
            passed += 1
        except Exception as error:  # A check fails by whatever it raises.
            failed += 1
            where = traceback.extract_tb(error.__traceback__)
            lines = [f"{frame.name}:{frame.lineno}" for frame in where if "judge" in frame.filename]
            print(f"FAILED: {sentence}: {error!r} ({' '.join(lines[1:])})")
        try:
            world.clean_up()
        except Exception as error:
            failed += 1
            print(f"FAILED: clean up after: {sentence}: {error!r}")
    for mistake in sorted(set(world.mistakes)):
        failed += 1
        print(f"FAILED: an answer differs from the model: {mistake}")
    if not wanted and len(CHECKS) < AT_LEAST:
        failed += 1
        print(f"FAILED: only {len(CHECKS)} checks in {len(TOPICS)} topics")
    print(f"{passed} passed, {failed} failed; {world.answers} answers compared with the model")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
