"""Recall by method and cut-off; the time of a search by how much there is to search."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from side_by_side.bench import Result

from recall.quality_cases import CUT_OFFS, LABELS

COLORS = {
    "ours": "#2b7a78",
    "store": "#c8553d",
    "cosine": "#e8a598",
    "bm25": "#8d99ae",
    "rrf60": "#5c677d",
    "rrf60-20": "#7d8597",
    "min-max": "#33415c",
}


def write(folder: Path, results: Sequence[Result]) -> None:
    """A file for each plot that there are figures for."""
    import matplotlib as mpl

    mpl.use("Agg")
    if recalls := recalls_of(results):
        plot_recall(folder / "long_term_recall.png", recalls)
    if curves := growth_of(results):
        plot_growth(folder / "long_term_growth.png", curves)


def recalls_of(results: Sequence[Result]) -> dict[str, list[float]]:
    """By method, the recall at each cut-off; nothing unless all of them were measured."""
    metrics = {f"recall, peer {label}": method for method, label in LABELS.items()}
    recalls: dict[str, list[float]] = {}
    for k in CUT_OFFS:
        for result in [result for result in results if result.case == f"recall-at-{k}"]:
            if result.metric == "recall":
                recalls.setdefault("ours", []).append(result.ours or 0)
                recalls.setdefault("cosine", []).append(result.peer or 0)
            elif result.metric in metrics:
                recalls.setdefault(metrics[result.metric], []).append(result.peer or 0)
    return {method: values for method, values in recalls.items() if len(values) == len(CUT_OFFS)}


def growth_of(results: Sequence[Result]) -> dict[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {}
    for result in results:
        found = re.fullmatch(r"(dense )?p50 ms, ([\d,]+) memories", result.metric)
        if result.case == "growth" and found:
            size = int(found[2].replace(",", ""))
            curves.setdefault("by meaning" if found[1] else "by meaning and words", {})[size] = result.ours or 0
            curves.setdefault("floor: exact scan of the vectors", {})[size] = result.floor or 0
    return curves


def plot_recall(path: Path, recalls: dict[str, list[float]]) -> None:
    figure, axes = new_figure()
    width = 0.8 / len(recalls)
    for number, (method, label) in enumerate((method, label) for method, label in LABELS.items() if method in recalls):
        places = [place + (number - (len(recalls) - 1) / 2) * width for place in range(len(CUT_OFFS))]
        bars = axes.bar(places, recalls[method], width * 0.95, color=COLORS[method], label=label)
        axes.bar_label(bars, fmt=lambda value: f"{value * 100:.0f}", fontsize=8)
    axes.set_xticks(range(len(CUT_OFFS)), [f"recall@{k}" for k in CUT_OFFS])
    axes.set(ylim=(0, 1.05), ylabel="share of the turns that the answer needs")
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    save(figure, path)


def plot_growth(path: Path, curves: dict[str, dict[int, float]]) -> None:
    figure, axes = new_figure()
    for (label, curve), color in zip(curves.items(), ("#2b7a78", "grey", "#c8553d"), strict=False):
        axes.plot(list(curve), list(curve.values()), marker="o", label=label, color=color)
    axes.set(xscale="log", yscale="log", xlabel="memories of the user", ylabel="p50 of a search, ms")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, place: f"{value:,g}")
        axis.set_minor_formatter(lambda value, place: "")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    save(figure, path)


def new_figure() -> tuple[Any, Any]:
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(8, 5), layout="constrained")


def save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.savefig(path, dpi=110)
    pyplot.close(figure)
