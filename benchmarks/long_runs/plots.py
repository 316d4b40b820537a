"""Events a second by runs at once; the times and the cost of waiting, all on scales of powers of ten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from side_by_side.bench import Result

COLORS = {"ours": "#2b7a78", "peer": "#c8553d", "floor": "grey"}
LABELS = {"ours": "lakemem", "peer": "LongRunningAgentServer", "floor": "a loop by hand"}
TIMES = {
    "delivery-same-p50-ms": "delivery, same process, p50 (ms)",
    "delivery-same-p99-ms": "delivery, same process, p99 (ms)",
    "delivery-other-p50-ms": "delivery, another process, p50 (ms)",
    "takeover-seconds": "takeover (s)",
    "idle-queries-per-second": "1,000 idle clients (statements/s)",
}
WIDTH = 0.27


def write(path: Path, results: Sequence[Result]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    by_case = {
        result.case: result for result in reversed(results) if result.metric in ("events/s", "ms", "s", "statements/s")
    }
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 5), width_ratios=[2, 3], layout="constrained")
    events = [case for case in ("events-1", "events-8", "events-32") if case in by_case]
    times = [case for case in TIMES if case in by_case]
    for place, (name, label) in enumerate(LABELS.items()):
        shift = (place - 1) * WIDTH
        heights = [getattr(by_case[case], name) or 0 for case in events]
        left.bar([number + shift for number in range(len(events))], heights, WIDTH, color=COLORS[name], label=label)
        widths = [getattr(by_case[case], name) or 0 for case in times]
        right.barh([number + shift for number in range(len(times))], widths, WIDTH, color=COLORS[name], label=label)
    left.set_xticks(range(len(events)), [case.removeprefix("events-") for case in events])
    left.set(yscale="log", xlabel="runs at once", ylabel="events stored a second")
    right.set_yticks(range(len(times)), [TIMES[case] for case in times])
    right.set(xscale="log")
    right.invert_yaxis()
    left.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
