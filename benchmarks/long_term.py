"""Long-term memory side by side: lakemem, LangGraph's PostgresStore, rankings in numpy, and a floor.

All have the same embedder (all-MiniLM-L6-v2) and share one embedded Postgres as it comes, with ten connections each.
No timing has the embedding of a question in it.

- LOCOMO=path: a file of the shape of LoCoMo; CORPUS=path: a corpus of JSON Lines. By default a small one of the
  project's own. docs/explanation/long-term-benchmarks.md says how to read the results.
- LAKEMEM_BENCHMARK_CACHE=path: where vectors are kept between runs; by default in the user's cache folder.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from recall import plots, quality_cases
from recall.bench import LongTermBench
from recall.corpora import CorpusError, chosen
from recall.embeddings import CachedEmbedder
from recall.growth_case import growth
from recall.paraphrase_case import paraphrases
from recall.quality_cases import recall_at_k, recall_beside_fusions
from recall.save_case import saves
from recall.speed_cases import search_time
from recall.tenant_cases import tenants
from side_by_side import report
from side_by_side.goals import Goal, above, faster
from side_by_side.server import embedded_server

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "explanation" / "long-term-benchmarks.md"
PACKAGES = ("langgraph", "langgraph-checkpoint-postgres", "psycopg", "psycopg-pool", "pgvector", "numpy")

ALL_NEAREST = [
    Goal("recall", None, "at least", 1.0),
    Goal("p50 ms where the peer is right", "peer", "at most", 1.0),
]

Case = Callable[[LongTermBench, str], Awaitable[None]]
CASES: dict[str, tuple[Case, list[Goal]]] = {
    "recall-at-5": (partial(recall_at_k, k=5), []),
    "recall-at-10": (partial(recall_at_k, k=10), []),
    "recall-at-20": (partial(recall_at_k, k=20), []),
    "recall-at-10-vs-rrf60": (recall_beside_fusions, [Goal("recall, peer min-max sum", "peer", "at least", 1.0)]),
    "tenants-100x600": (partial(tenants, sizes=[(100, 600)]), ALL_NEAREST),
    "tenants-50x1200": (partial(tenants, sizes=[(50, 1_200)]), ALL_NEAREST),
    "tenants-2000x100": (partial(tenants, sizes=[(2_000, 100), (5, 20_000)]), ALL_NEAREST),
    "search-p50-ms": (partial(search_time, memories=600, metric="p50 ms"), [Goal("p50 ms", None, "at most", 6)]),
    "search-p99-ms": (partial(search_time, memories=600, metric="p99 ms"), [Goal("p99 ms", None, "at most", 20)]),
    "search-20k-p50-ms": (
        partial(search_time, memories=20_000, metric="p50 ms"),
        [Goal("p50 ms", None, "at most", 40)],
    ),
    "search-20k-dense-p50-ms": (
        partial(search_time, memories=20_000, metric="p50 ms", dense=True),
        [Goal("p50 ms", None, "at most", 10), Goal("recall", None, "at least", 1.0)],
    ),
    "save-16": (partial(saves, workers=16), [faster("ops/s", 3)]),
    "paraphrases-stored": (paraphrases, [Goal("doubled when all are saved again", None, "at most", 0)]),
    "growth": (growth, []),
}
OF_LOCOMO = {"recall-at-10": [above("recall", 0.30)], "recall-at-10-vs-rrf60": [above("recall", 0.15)]}
"""Goals that were set for its development conversations."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="see that everything works, in less than a minute")
    parser.add_argument("--only", action="append", metavar="CASE", choices=CASES, help="this case; may be repeated")
    parser.add_argument("--rounds", type=int, help="of each contender in each case (default: 5; quick: 1)")
    parser.add_argument("--seconds", type=float, help="of a round (default: 2; quick: 0.1)")
    parser.add_argument("--growth", type=rows, default=0, metavar="ROWS", help="in the table of that case, such as 1M")
    parser.add_argument("--results", type=Path, help="folder to write to (default: of a whole run, results/)")
    options = parser.parse_args(arguments)
    try:
        corpus, which = chosen(os.environ)
    except CorpusError as error:
        print(error, file=sys.stderr)
        return 2
    print(which, file=sys.stderr)
    if options.quick:
        corpus = corpus.part(scopes=2, questions=40)
    embedder = CachedEmbedder()
    embedder.prepare(corpus.texts)
    with embedded_server() as server:
        bench = LongTermBench(
            server,
            rounds=options.rounds or (1 if options.quick else 5),
            seconds=options.seconds or (0.1 if options.quick else 2.0),
            warm_up=0.05 if options.quick else 0.5,
            scale=0.02 if options.quick else 1.0,
            corpus=corpus,
            embedder=embedder,
            growth=options.growth,
        )
        asyncio.run(run(bench, options.only or list(CASES)))
    goals = {name: [*(OF_LOCOMO.get(name, []) if os.environ.get("LOCOMO") else []), *CASES[name][1]] for name in CASES}
    text = report.tables(bench, goals, PACKAGES, [which])
    if bench.quality is not None:
        text = f"{quality_cases.table(bench.quality)}\n\n{text}"
    print(text)
    whole = not options.quick and not options.only
    if folder := options.results or (HERE / "results" if whole else None):
        report.write(folder, "long_term", "Long-term memory, side by side", bench.results, text)
        plots.write(folder, bench.results)
    if whole and options.results is None:
        report.write_into(PAGE, text)
    return 0


async def run(bench: LongTermBench, names: list[str]) -> None:
    for name in names:
        bench.say(name)
        case, _ = CASES[name]
        await case(bench, name)


def rows(text: str) -> int:
    """A number of rows, such as 144000, 200k or 1M."""
    found = re.fullmatch(r"(\d+)([kM]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is not a number of rows, such as 200k or 1M")
    return int(found[1]) * {"": 1, "k": 1_000, "M": 1_000_000}[found[2]]


if __name__ == "__main__":
    sys.exit(main())
