#!/usr/bin/env python3
"""report.py FILE LEAST: the suite's own counts; fails when a test failed or fewer than LEAST passed."""
import collections
import json
import sys


def main():
    with open(sys.argv[1]) as file:
        suites = json.load(file)
    counts, failures = collections.Counter(), []
    for report in (report for suite in suites for report in suite.get("SpecReports") or []):
        name = " ".join((report.get("ContainerHierarchyTexts") or []) + [report.get("LeafNodeText", "")])
        state, failure = report["State"], report.get("Failure") or {}
        if report["LeafNodeType"] == "It":
            # One that was not selected is skipped without a word.
            if state != "skipped" or failure.get("Message"):
                counts[state] += 1
        if state not in ("passed", "skipped", "pending"):
            failures.append(f"{state}: {name or report['LeafNodeType']}\n    {failure.get('Message', '')[:600]}")
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "nothing ran")
    print("\n".join(failures), end="\n" if failures else "")
    if failures or counts["passed"] < int(sys.argv[2]):
        sys.exit(f"report.py: expected at least {sys.argv[2]} to pass, and none to fail")


if __name__ == "__main__":
    main()
