"""Which share of the turns that an answer needs is among the first that come back."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase
from recall import stores
from recall.bench import LongTermBench
from recall.corpora import APART, Corpus, Question
from recall.embeddings import CachedEmbedder
from recall.rankings import RANKINGS, Documents, lexemes, order, recall_at

CUT_OFFS = (5, 10, 20)
LABELS = {
    "ours": "lakemem",
    "store": "PostgresStore",
    "cosine": "cosine",
    "bm25": "BM25",
    "rrf60": "RRF, k = 60",
    "rrf60-20": "RRF of the first 20",
    "min-max": "min-max sum",
}

Search = Callable[[Question, int], Awaitable[list[str]]]
"""The ids of the best turns for a question, so many of them."""


@dataclass(frozen=True)
class Quality:
    """The recall of each question of the corpus, by method and cut-off."""

    questions: list[Question]
    recalls: Mapping[str, Mapping[int, list[float]]]

    def average(self, method: str, k: int, category: str | None = None) -> float:
        """Over the questions of a category; by default of all but those that are held apart."""
        recalls = [
            recall
            for question, recall in zip(self.questions, self.recalls[method][k], strict=True)
            if (question.category not in APART if category is None else question.category == category)
        ]
        return statistics.fmean(recalls)

    @property
    def categories(self) -> list[str]:
        return sorted({question.category for question in self.questions})


async def recall_at_k(bench: LongTermBench, case: str, k: int) -> None:
    """The peer is the exact cosine, which LangGraph's store approximates by an index."""
    quality = await measured(bench)
    bench.note(case, "recall", ours=quality.average("ours", k), peer=quality.average("cosine", k), floor=None)
    for method in ("store", "bm25", "rrf60", "rrf60-20", "min-max"):
        figures = {"ours": quality.average("ours", k), "peer": quality.average(method, k)}
        bench.note(case, f"recall, peer {LABELS[method]}", **figures, floor=None)
    for category in quality.categories:
        figures = {"ours": quality.average("ours", k, category), "peer": quality.average("cosine", k, category)}
        bench.note(case, f"recall, {category}", **figures, floor=None)


async def recall_beside_fusions(bench: LongTermBench, case: str) -> None:
    quality = await measured(bench)
    ours = quality.average("ours", 10)
    bench.note(case, "recall", ours=ours, peer=quality.average("rrf60", 10), floor=None)
    for method in ("rrf60-20", "min-max"):
        bench.note(case, f"recall, peer {LABELS[method]}", ours=ours, peer=quality.average(method, 10), floor=None)


async def measured(bench: LongTermBench) -> Quality:
    """Ask every question of everybody, once a run."""
    if bench.quality is None:
        with bench.server.database() as target:
            bench.quality = await asked(target, bench.corpus, bench.embedder, bench.say)
    return bench.quality


async def asked(
    target: Lakebase, corpus: Corpus, embedder: CachedEmbedder, say: Callable[[str], None] = lambda text: None
) -> Quality:
    """Store a corpus with each contender, and ask all its questions."""
    recalls = recalls_of_rankings(target, corpus, embedder)
    say("recall: the rankings in numpy are done")
    async with stores.ours(target, embedder) as memory:
        await stores.save_turns(memory, corpus.turns)
        say("recall: the turns are saved")

        async def our_search(question: Question, k: int) -> list[str]:
            found = await stores.search(memory, question.scope, question.text, k, question.date)
            return [hit.key for hit in found]

        recalls["ours"] = await recalls_of(our_search, corpus.questions)
        say("recall: lakemem is asked")
    async with stores.peer(target, embedder) as store:
        await stores.put_turns(store, corpus.turns)

        async def peer_search(question: Question, k: int) -> list[str]:
            return await stores.peer_search(store, question.scope, question.text, k)

        recalls["store"] = await recalls_of(peer_search, corpus.questions)
        say("recall: PostgresStore is asked")
    return Quality(list(corpus.questions), recalls)


async def recalls_of(search: Search, questions: Iterable[Question]) -> dict[int, list[float]]:
    """Each cut-off is asked for by itself, as a user would: what comes back may depend on it."""
    return {k: [recall_at(k, await search(question, k), question.gold) for question in questions] for k in CUT_OFFS}


def recalls_of_rankings(
    target: Lakebase, corpus: Corpus, embedder: CachedEmbedder
) -> dict[str, dict[int, list[float]]]:
    """What the rankings in numpy find."""
    documents = {}
    with psycopg.connect(make_conninfo(**dict(target.parameters)), autocommit=True) as connection:
        for scope, turns in corpus.by_scope.items():
            texts = [turn.text for turn in turns]
            documents[scope] = Documents(embedder.vectors(texts), lexemes(connection, texts))
        words = lexemes(connection, [question.text for question in corpus.questions])
    recalls: dict[str, dict[int, list[float]]] = {name: {k: [] for k in CUT_OFFS} for name in RANKINGS}
    vectors = embedder.vectors([question.text for question in corpus.questions])
    for question, vector, word in zip(corpus.questions, vectors, words, strict=True):
        of_scope = documents[question.scope]
        dense, lexical = of_scope.cosine(vector), of_scope.bm25(word)
        for name, ranking in RANKINGS.items():
            found = [
                corpus.by_scope[question.scope][place].id for place in order(ranking(dense, lexical))[: max(CUT_OFFS)]
            ]
            for k in CUT_OFFS:
                recalls[name][k].append(recall_at(k, found, question.gold))
    return recalls


def table(quality: Quality) -> str:
    """Recall by method, cut-off and category."""
    lines = ["| method | " + " | ".join(f"recall@{k}" for k in CUT_OFFS) + " | "]
    lines[0] += " | ".join(f"{category} @10" for category in quality.categories) + " |"
    lines.append("|---" * (1 + len(CUT_OFFS) + len(quality.categories)) + "|")
    for method, label in LABELS.items():
        figures = [quality.average(method, k) for k in CUT_OFFS]
        figures += [quality.average(method, 10, category) for category in quality.categories]
        lines.append(f"| {label} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")
    return "\n".join(lines) + "\n"
