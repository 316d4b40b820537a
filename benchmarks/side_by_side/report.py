"""The results for readers: JSON, a table, a plot."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from side_by_side.bench import Bench, Number, Result
from side_by_side.goals import Goal

Goals = Mapping[str, Sequence[Goal]]
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"


def write(folder: Path, name: str, title: str, results: Sequence[Result], text: str) -> None:
    """Write the figures for programs, and the report for readers."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({field: rounded(value) for field, value in asdict(result).items()}) for result in results]
    (folder / f"{name}.json").write_text("[\n  " + ",\n  ".join(rows) + "\n]\n", "utf-8")
    (folder / f"{name}.md").write_text(f"# {title}\n\n{text}", "utf-8")


def write_into(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def tables(bench: Bench, goals: Goals, packages: Sequence[str], notes: Sequence[str]) -> str:
    """The goals, all figures, and in which circumstances they were measured."""
    parts = [goal_table(bench.results, goals), figure_table(bench.results), conditions(bench, packages, notes)]
    return "\n\n".join(parts)


def goal_table(results: Sequence[Result], goals: Goals) -> str:
    lines = ["| case | metric | ours | peer | floor | goal | reached | met |", "|---|---|---|---|---|---|---|---|"]
    lines += [
        row(result, [str(goal), *verdict(goal, result)])
        for result in results
        for goal in goals.get(result.case, ())
        if goal.metric == result.metric
    ]
    return "\n".join(lines) + "\n"


def verdict(goal: Goal, result: Result) -> list[str]:
    reached = goal.reached(result)
    if reached is None:
        return ["not measured", ""]
    missed = goal.shortfall(reached)
    return [shown(reached), f"no, by {missed:.0%}" if missed else "yes"]


def figure_table(results: Sequence[Result]) -> str:
    lines = ["| case | metric | ours | peer | floor |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *[row(result, []) for result in results]]) + "\n"


def row(result: Result, further: list[str]) -> str:
    figures = [shown(result.ours), shown(result.peer), shown(result.floor)]
    return "| " + " | ".join([result.case, result.metric, *figures, *further]) + " |"


def rounded(value: Number | str) -> Number | str:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def shown(value: Number) -> str:
    if value is None:
        return "-"
    if isinstance(value, float) and abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}"


def conditions(bench: Bench, packages: Sequence[str], notes: Sequence[str]) -> str:
    foreign = bench.foreign or [0.0]
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return "\n".join(
        [
            f"- {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors ({processor()}), {platform.system()}; "
            "client and server share them",
            f"- used by others during a round: median {statistics.median(foreign):.0%}, at most {max(foreign):.0%}",
            f"- PostgreSQL {bench.server.version}, embedded, as it comes; Python {platform.python_version()}",
            f"- {versions}",
            f"- medians of {bench.rounds} rounds of {bench.seconds:g} s; ten connections each",
            *[f"- {note}" for note in notes],
        ]
    )


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def plot(path: Path, results: Sequence[Result], goals: Goals) -> None:
    """Left, how many times better than the peer, with the goals; right, bytes by turns."""
    import matplotlib as mpl
    import matplotlib.ticker

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 6), width_ratios=[3, 2], layout="constrained")
    by_name = {(result.case, result.metric): result for result in results}
    bars = []
    for case, wanted in goals.items():
        goal = next((goal for goal in wanted if goal.to == "peer"), None)
        result = goal and by_name.get((case, goal.metric))
        reached = goal and result and goal.reached(result)
        if goal and reached:
            better = goal.sense == "at least"
            bars.append((case, reached if better else 1 / reached, goal.bound if better else 1 / goal.bound))
    names = [name for name, _, _ in bars]
    left.barh(
        names, [reached for _, reached, _ in bars], color=["#2b7a78" if r >= g else "#c8553d" for _, r, g in bars]
    )
    left.scatter([goal for _, _, goal in bars], names, marker="|", s=250, color="black", label="goal", zorder=3)
    left.set(xscale="log", xlabel="times better than the peer")
    left.axvline(1, color="grey", linewidth=1)
    left.invert_yaxis()
    left.legend()
    for name, color in {"ours": "#2b7a78", "peer": "#c8553d", "floor": "grey"}.items():
        sizes = bytes_by_turns(results, name)
        right.plot(list(sizes), [size / 2**20 for size in sizes.values()], marker="o", color=color, label=LABELS[name])
    right.set(xscale="log", yscale="log", xlabel="turns", ylabel="MiB stored, whole history kept")
    right.set_xticks(list(bytes_by_turns(results, "ours")), minor=False)
    right.xaxis.set_major_formatter(mpl.ticker.ScalarFormatter())
    right.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    right.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


LABELS = {"ours": "lakemem", "peer": "AsyncPostgresSaver", "floor": "each message once"}


def bytes_by_turns(results: Sequence[Result], name: str) -> dict[int, int]:
    sizes = {}
    for result in results:
        if result.case == "thread-500-bytes" and result.metric.startswith("bytes at"):
            sizes[int(result.metric.split()[2])] = getattr(result, name)
        elif result.case == "thread-500-bytes" and result.metric == "bytes":
            sizes[500] = getattr(result, name)
    return dict(sorted(sizes.items()))
