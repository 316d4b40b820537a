"""``make test-faults``: rounds of faults, and a table of what became of what was acknowledged.

A round is one fault while one workload goes on. The moments at which things go wrong come from the seed that is printed
first; --seed repeats them. What else the machine does is different each time.

    make test-faults                       some 300 rounds
    make test-faults ROUNDS=3000           more of them
    make test-faults ARGS="--seed 7 --only 'disk full' failover"

LAKEMEM_TEST_LONG=1 makes ten times as many.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.faults.breaking import FAULTS, GROUPS
from tests.faults.history import Findings
from tests.faults.rounds import Episode, Result, episodes_of, play_all
from tests.faults.workloads import DEADLINE, WORKLOADS

ROUNDS = 300
AT_ONCE = 3
"""Groups; most of the time they wait."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make test-faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rounds = ROUNDS * (10 if os.environ.get("LAKEMEM_TEST_LONG") else 1)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"at least so many (default: {rounds})")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of an earlier run, to repeat it")
    parser.add_argument("--only", nargs="+", default=[], choices=[fault.name for fault in FAULTS], metavar="FAULT")
    parser.add_argument("--group", choices=GROUPS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    chosen = _chosen(options.seed, options.rounds, options.only)
    if options.group:
        # A process for one group: its results go to whoever started it.
        for result in play_all(options.group, [each for each in chosen if each.fault.group == options.group]):
            print(result.to_json(), flush=True)
        return 0
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    results = _played(chosen, ["--seed", str(options.seed), "--rounds", str(options.rounds), *_only(options.only)])
    for degrades in (False, True):
        if some := [result for result in results if result.degrades == degrades]:
            print(f"\n{_table(some, degrades=degrades)}")
    good = all(result.is_good for result in results) and len(results) == len(chosen)
    for result in results:
        if not result.is_good:
            print(f"\n{_complaint(result)}")
    count = sum(len(result.findings) for result in results)
    acknowledged = sum(each.acknowledged for result in results for each in result.findings.values())
    print(
        f"\n{'held' if good else 'NOT HELD'}: {count} rounds, {acknowledged} writes acknowledged, "
        f"{time.monotonic() - began:.0f} s, seed {options.seed}"
    )
    return 0 if good else 1


def _only(names: Sequence[str]) -> list[str]:
    return ["--only", *names] if names else []


def _chosen(seed: int, rounds: int, only: Sequence[str]) -> list[Episode]:
    """Whole sweeps through all faults, until there are enough rounds."""
    chosen: list[Episode] = []
    sweep = 0
    while sum(len(WORKLOADS[episode.degrades]) for episode in chosen) < rounds:
        chosen += [each for each in episodes_of(seed, sweep) if not only or each.fault.name in only]
        sweep += 1
    return [each for each in chosen if each.fault.group != "disk" or _may_mount()]


def _may_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


def _played(chosen: Sequence[Episode], arguments: Sequence[str]) -> list[Result]:
    if not _may_mount():
        print("'disk full' is left out: a small disk can be mounted by root alone", file=sys.stderr)
    sizes = Counter(episode.fault.group for episode in chosen)
    results: list[Result] = []
    lock = threading.Lock()

    def play(group: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "tests.faults", "--group", group, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                result = Result.from_json(line)
                with lock:
                    results.append(result)
                    mark = "ok" if result.is_good else "WRONG"
                    kind = "degrading" if result.degrades else "plain"
                    print(
                        f"{len(results):4}/{len(chosen)} {mark:5} {result.fault}, {kind}: {result.seconds:.1f} s",
                        file=sys.stderr,
                    )
        if process.returncode:
            print(f"the rounds of the group {group!r} ended early", file=sys.stderr)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(play, [group for group, _ in sizes.most_common()]))
    return results


COLUMNS = {
    "rounds": "rounds",
    "acknowledged": "acknowledged",
    "lost": "lost",
    "doubled": "doubled",
    "disordered": "out of order",
    "torn": "in part",
    "strange": "never written",
    "stale": "stale reads",
    "whole": "unacknowledged: whole",
    "absent": "absent",
}


def _table(results: Sequence[Result], *, degrades: bool) -> str:
    """A row for each fault and workload."""
    rows: dict[tuple[str, str], list[Findings]] = defaultdict(list)
    for result in results:
        for workload, findings in result.findings.items():
            rows[result.fault, workload].append(findings)
    head = (
        f"Behind `degrading`, with a deadline of {DEADLINE:g} s for each operation:"
        if degrades
        else "A plain memory, whose callers wait for 1.5 s:"
    )
    lines = [head, "", f"| fault | workload | {' | '.join(COLUMNS.values())} |", "|---|---|" + "--:|" * len(COLUMNS)]
    for fault in FAULTS:
        for workload in WORKLOADS[degrades]:
            if some := rows.get((fault.name, workload.name)):
                total = sum(some, Findings())
                cells = [str(len(some)), *(str(getattr(total, name)) for name in list(COLUMNS)[1:])]
                lines.append(f"| {fault.name} | {workload.name} | {' | '.join(cells)} |")
    lines += ["", "| fault | answers | late | the longest took | errors that callers saw |", "|---|--:|--:|--:|---|"]
    for fault in FAULTS:
        if its := [result for result in results if result.fault == fault.name]:
            errors = sum((result.errors for result in its), Counter())
            said = ", ".join(f"{count} {name}" for name, count in errors.most_common()) or "none"
            answers, late = sum(result.answers for result in its), sum(len(result.late) for result in its)
            longest = max(result.longest for result in its)
            lines.append(f"| {fault.name} | {answers} | {late} | {longest:.2f} s | {said} |")
    return "\n".join(lines)


def _complaint(result: Result) -> str:
    kind = "degrading" if result.degrades else "plain"
    lines = [f"{result.fault}, {kind}, episode {result.seed}:"]
    lines += [f"  {surprise} ({count} times)" for surprise, count in result.surprises.items()]
    lines += [f"  {late}" for late in result.late]
    lines += [f"  {example}" for findings in result.findings.values() for example in findings.examples]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
