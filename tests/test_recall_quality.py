"""Recall does not fall: a small corpus of the project's own, asked as the benchmark asks a larger one.

Its figures do not depend on the machine: the embedder gives a text the same vector everywhere, and ties are broken.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from recall import stores
from recall.corpora import OWN, Question, read_jsonl
from recall.embeddings import CachedEmbedder
from recall.quality_cases import Quality, asked, recalls_of

from lakemem import Lakebase
from lakemem.integrations.embedders import LocalEmbedder
from lakemem.operations.recall import PROBES
from lakemem.testing import DatabaseFactory
from tests.support.rows import Rows

CATEGORIES = {"single-hop", "multi-hop", "temporal", "preference"}


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> CachedEmbedder:
    # One thread: several wait for each other at full speed, and take the time of the tests beside.
    return CachedEmbedder(LocalEmbedder(threads=1), tmp_path_factory.mktemp("vectors") / "vectors.sqlite")


@pytest.fixture(scope="module")
def quality(databases: DatabaseFactory, embedder: CachedEmbedder) -> Iterator[Quality]:
    corpus = read_jsonl(OWN)
    with database(databases) as target:
        yield asyncio.run(asked(target, corpus, embedder))


@contextmanager
def database(databases: DatabaseFactory) -> Iterator[Lakebase]:
    created = databases.create()
    yield created
    databases.drop(created)


def test_most_of_what_an_answer_needs_is_among_the_first_ten(quality: Quality) -> None:
    assert quality.average("ours", 10) >= 0.83
    assert quality.average("ours", 5) >= 0.71


@pytest.mark.parametrize(("method", "better"), [("store", 0.07), ("cosine", 0.07), ("rrf60", 0.15), ("min-max", 0.07)])
def test_more_of_it_is_found_than_by_other_rankings(quality: Quality, method: str, better: float) -> None:
    assert quality.average("ours", 10) >= quality.average(method, 10) + better


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_no_kind_of_question_pays_for_another(quality: Quality, category: str) -> None:
    """Nothing that helps one kind may take a kind below what the vectors alone find."""
    assert quality.average("ours", 10, category) >= quality.average("cosine", 10, category)


async def recall_with_indexes(target: Lakebase, embedder: CachedEmbedder) -> float:
    """The share of what answers need among the first ten, where each scope has an index of which half is looked at."""
    corpus = read_jsonl(OWN)
    async with stores.ours(target, embedder) as memory:
        await stores.save_turns(memory, corpus.turns)
        for scope in corpus.by_scope:
            Rows(target, f"user:{scope}")("UPDATE lakemem.memories SET stored_at = stored_at - interval '1 hour'")
            await stores.index(memory, scope, corpus.questions[0].text)
            assert memory._embeddings.large_scopes.is_indexed((f"user:{scope}",))

        async def search(question: Question, k: int) -> list[str]:
            found = await stores.search(memory, question.scope, question.text, k, question.date)
            return [hit.key for hit in found]

        found = await recalls_of(search, corpus.questions)
    return statistics.fmean(found[10])


def test_next_to_nothing_is_lost_by_an_index(
    quality: Quality, databases: DatabaseFactory, embedder: CachedEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("lakemem.operations.recall", "lakemem.large_scopes", "lakemem._async.jobs"):
        monkeypatch.setattr(f"{module}.LARGE", 20)
    monkeypatch.setitem(PROBES, "search", 5)
    with database(databases) as target:
        found = asyncio.run(recall_with_indexes(target, embedder))
    assert found >= quality.average("ours", 10) - 0.02


def test_the_corpus_asks_all_kinds_of_questions_of_several_people(quality: Quality) -> None:
    corpus = read_jsonl(OWN)
    assert {question.category for question in quality.questions} == CATEGORIES
    assert len(corpus.questions) >= 60
    assert len(corpus.by_scope) == 4
    assert all(len({turn.thread for turn in turns}) >= 6 for turns in corpus.by_scope.values())
