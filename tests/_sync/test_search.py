# Generated from tests/_async/test_search.py by tools/unasync.py: edit that file, then run `make generate`.
"""Search by meaning and by words, on a real Postgres."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lakemem import EmbeddingError, Hit, Lakebase, Memory, ScopedMemory
from lakemem.errors import DimensionMismatchError
from lakemem.testing import DatabaseFactory
from tests.support.embedders import HangingEmbedder, TopicEmbedder
from tests.support.rows import Rows


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def user_id() -> str:
    return f"alice {uuid.uuid4()}"


@pytest.fixture
def embedder() -> TopicEmbedder:
    return TopicEmbedder()


@pytest.fixture
def by_words(memory: Memory, user_id: str) -> ScopedMemory:
    """The user's memory without an embedder."""
    return memory.for_user(user_id)


@pytest.fixture
def by_meaning(target: Lakebase, user_id: str, embedder: TopicEmbedder) -> Iterator[ScopedMemory]:
    """The same user's memory with one."""
    with Memory(target, embedder=embedder) as memory:
        yield memory.for_user(user_id)


@pytest.fixture
def rows(target: Lakebase, user_id: str) -> Rows:
    return Rows(target, f"user:{user_id}")


def keys(hits: list[Hit]) -> list[str]:
    return [hit.key for hit in hits]


def raising(error: Exception) -> Callable[[Any], Any]:
    def spoil(vectors: Any) -> Any:
        raise error

    return spoil


def test_without_an_embedder_search_goes_by_words_and_says_so(by_words: ScopedMemory) -> None:
    by_words.save("a", "She likes walking her dogs in the park")
    by_words.save("b", "The park is closed")
    by_words.save("c", "Nothing of the kind")
    hits = by_words.search("Does the dog walk in the park?")
    assert keys(hits) == ["a", "b"]
    assert [hit.arms for hit in hits] == [("lexical",)] * 2
    assert [(hit.similarity, hit.dense) for hit in hits] == [(None, None)] * 2
    assert [hit.score for hit in hits] == [hit.lexical for hit in hits]
    assert hits[0].score == 1
    assert hits[0].matched_terms == ("dog", "walk", "park"), "the rarest first"
    assert hits[1].matched_terms == ("park",)


def test_a_rare_word_counts_more_than_a_common_one(by_words: ScopedMemory) -> None:
    for n in range(5):
        by_words.save(f"common{n}", "a common thing")
    by_words.save("rare", "a rare one")
    assert keys(by_words.search("common rare", limit=2)) == ["rare", "common0"]


def test_both_arms_find_each_what_the_other_cannot(by_meaning: ScopedMemory) -> None:
    by_meaning.save("a", "puppy")
    by_meaning.save("b", "Zanzibar")
    by_meaning.save("c", "pasta")
    hits = {hit.key: hit for hit in by_meaning.search("dog in Zanzibar")}
    assert {hit.arms for hit in hits.values()} == {("dense", "lexical")}
    assert hits["a"].matched_terms == ()
    assert (hits["a"].dense, hits["a"].lexical) == (1, None)
    assert (hits["b"].matched_terms, hits["b"].lexical) == (("zanzibar",), 1)
    assert hits["a"].similarity == pytest.approx(1, abs=1e-3)
    assert hits["c"].similarity == pytest.approx(0.2, abs=1e-3)
    assert hits["c"].dense == 0


def test_the_score_is_the_weighted_mean_of_the_arms_and_orders_the_hits(by_meaning: ScopedMemory) -> None:
    for key, text in [("a", "dog"), ("b", "kitten"), ("c", "train"), ("d", "pizza and a dog"), ("e", "stone")]:
        by_meaning.save(key, text)
    hits = by_meaning.search("dog or train")
    assert [hit.score for hit in hits] == pytest.approx(
        [((hit.dense or 0) + (hit.lexical or 0) / 2) / 1.5 for hit in hits]
    )
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(0 <= hit.score <= 1 for hit in hits)
    assert hits[0].key == "c"
    assert keys(by_meaning.search("dog or train", limit=2)) == keys(hits)[:2]
    assert by_meaning.search("dog", limit=0) == []
    assert keys(by_meaning.search("dog or train", limit=None)) == keys(hits)


def test_memories_of_one_meaning_all_count_in_full(by_meaning: ScopedMemory) -> None:
    by_meaning.save("a", "dog")
    by_meaning.save("b", "cat")
    assert [hit.dense for hit in by_meaning.search("pet")] == [1, 1]


def test_a_hit_is_the_memory_as_it_is_now(by_meaning: ScopedMemory) -> None:
    by_meaning.save("pet", "a dog", metadata={"n": 1})
    now = by_meaning.update("pet", "a stone")
    [hit] = by_meaning.search("stone")
    assert hit.record == now
    assert (hit.key, hit.value, hit.text) == ("pet", "a stone", "pet: a stone")
    assert (by_meaning.search("dog"))[0].matched_terms == ()


def test_an_update_embeds_again_only_what_search_reads(by_meaning: ScopedMemory, embedder: TopicEmbedder) -> None:
    by_meaning.save("pet", "dog")
    embedder.texts.clear()
    assert (by_meaning.update("pet", metadata={"n": 1})).embedded is True
    assert embedder.texts == []
    by_meaning.update("pet", "train")
    assert embedder.texts == ["pet: train"]
    [hit] = by_meaning.search("journey", min_similarity=0.5)
    assert hit.similarity is not None


def test_min_similarity_leaves_out_what_means_something_else(by_meaning: ScopedMemory, by_words: ScopedMemory) -> None:
    by_meaning.save("a", "a dog")
    by_meaning.save("b", "a plane that is called dog food")
    by_words.save("unknown", "a dog whose vector is missing")
    assert set(keys(by_meaning.search("dog", min_similarity=0.9))) == {"a", "unknown"}
    assert set(keys(by_meaning.search("dog", min_similarity=-1))) == {"a", "b", "unknown"}
    assert set(keys(by_words.search("dog", min_similarity=0.9))) == {"a", "b", "unknown"}


def test_vectors_of_two_models_are_not_compared(target: Lakebase, user_id: str, by_meaning: ScopedMemory) -> None:
    by_meaning.save("a", "a dog")
    by_meaning.save("b", "a cat")
    with Memory(target, embedder=TopicEmbedder("other")) as memory:
        other = memory.for_user(user_id)
        [hit] = other.search("dog")
        assert (hit.key, hit.similarity, hit.dense, hit.lexical) == ("a", None, None, 1)
        other.save("c", "a puppy")
        assert {hit.key for hit in other.search("dog") if hit.similarity is not None} == {"c"}


def test_a_question_in_stop_words_finds_nothing_by_words(by_words: ScopedMemory, by_meaning: ScopedMemory) -> None:
    by_words.save("a", "the one and only")
    by_meaning.save("b", "dog")
    assert by_words.search("what is the") == []
    assert keys(by_meaning.search("what is the")) == ["b"]


@pytest.mark.parametrize(
    "query",
    [
        "blue & !red | (", "' OR 1=1 --", "\\", "a:*", "blue:A", "<->", "%(owner)s {schema} %s", "\x00blue\x00",
        "\ud83e blue", "blue\u2028", "🦆", "blue " * 30_000, "http://blue.example/blue?q=1", "b" * 5000,
    ],
)  # fmt: skip
def test_any_text_can_be_a_question(by_words: ScopedMemory, query: str) -> None:
    by_words.save("colour", "blue")
    found = keys(by_words.search(query))
    assert found == (["colour"] if "blue" in query and "http" not in query else [])


def test_any_text_can_be_found_again(by_words: ScopedMemory) -> None:
    for n, text in enumerate(["\x00needle\x00", "\ud800 needle", "needle " + "x" * 500_000, "y" * 3000 + " needle"]):
        by_words.save(f"k{n}", text)
    assert len(by_words.search("needle")) == 4


def test_a_text_of_nothing_but_different_words_can_be_saved(by_words: ScopedMemory) -> None:
    # As much as a tsvector ever has to hold of one memory: wide characters, each word in parts and as a whole.
    words = (chr(0x10400 + n % 40) + chr(0x10400 + n // 40 % 40) + f"-{n:x}" for n in range(20_000))
    by_words.save("words", " ".join(words))
    assert keys(by_words.search("words")) == ["words"]


def test_an_embedder_that_fails_does_without(
    by_meaning: ScopedMemory, embedder: TopicEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    by_meaning.save("before", "puppy")
    embedder.spoil = raising(ConnectionError("refused: a secret dog"))
    with caplog.at_level(logging.WARNING, "lakemem"):
        record = by_meaning.save("during", "a secret dog")
        assert (record.version, record.embedded) == (1, False)
        [hit] = by_meaning.search("dog")
        assert (hit.key, hit.arms, hit.similarity) == ("during", ("lexical",), None)
        assert (by_meaning.update("before", "kitten")).embedded is False
        embedder.spoil = None
        assert (by_meaning.save("after", "puppy")).embedded is True
        assert (by_meaning.search("dog"))[0].arms == ("dense", "lexical")
    assert [message.split(":")[0] for message in caplog.messages] == [
        "the embedder is down, search goes by words alone",
        "the embedder is back",
    ]
    assert "secret" not in caplog.text


def test_an_embedder_that_is_late_is_not_waited_for(target: Lakebase, user_id: str) -> None:
    embedder = HangingEmbedder()
    with Memory(target, embedder=embedder, embedding_deadline=0.05) as memory:
        user = memory.for_user(user_id)
        try:
            assert (user.save("pet", "dog")).embedded is False
            [hit] = user.search("dog")
            assert hit.arms == ("lexical",)
        finally:
            embedder.released.set()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda vectors: [[math.nan, *vector[1:]] for vector in vectors],
        lambda vectors: [[math.inf, *vector[1:]] for vector in vectors],
        lambda vectors: [[-math.inf, math.inf, math.nan, 0.0] for _ in vectors],
        lambda vectors: [[10**400, *vector[1:]] for vector in vectors],
        lambda vectors: [[None, *vector[1:]] for vector in vectors],
        lambda vectors: [["x", *vector[1:]] for vector in vectors],
        lambda vectors: [None for _ in vectors],
        lambda vectors: [1.0 for _ in vectors],
        lambda vectors: [],
        lambda vectors: vectors * 2,
        lambda vectors: [vectors],
    ],
)
def test_what_is_not_a_vector_is_an_error_and_nothing_is_written(
    by_meaning: ScopedMemory, embedder: TopicEmbedder, rows: Rows, spoil: Callable[[Any], Any]
) -> None:
    saved = by_meaning.save("pet", "dog")
    embedder.spoil = spoil
    with pytest.raises(EmbeddingError) as error:
        by_meaning.save("other", "a secret")
    assert "secret" not in str(error.value)
    with pytest.raises(EmbeddingError):
        by_meaning.update("pet", "another secret")
    with pytest.raises(EmbeddingError):
        by_meaning.search("a third secret")
    assert by_meaning.items() == [saved]
    assert rows("SELECT count(*) FROM lakemem.memory_events") == [(1,)]


@pytest.mark.parametrize("change", [lambda vector: vector[1:], lambda vector: [*vector, 1.0], lambda vector: []])
def test_a_vector_of_another_length_is_an_error_and_nothing_is_written(
    by_meaning: ScopedMemory, embedder: TopicEmbedder, change: Callable[[list[float]], list[float]]
) -> None:
    embedder.spoil = lambda vectors: [change(vector) for vector in vectors]
    with pytest.raises(DimensionMismatchError):
        by_meaning.save("pet", "dog")
    assert by_meaning.items() == []


@pytest.mark.parametrize("scale", [1e200, 1e154, 1e-200, 1e-300])
def test_the_length_of_a_vector_does_not_matter(
    by_meaning: ScopedMemory, embedder: TopicEmbedder, scale: float
) -> None:
    by_meaning.save("pet", "dog")
    embedder.spoil = lambda vectors: [[number * 2 * scale for number in vector] for vector in vectors]
    by_meaning.save("other", "puppy")
    [first, second] = by_meaning.search("kitten")
    assert first.similarity == pytest.approx(second.similarity, abs=0.15)
    assert first.similarity is not None


def test_a_vector_without_a_direction_counts_as_none(by_meaning: ScopedMemory, embedder: TopicEmbedder) -> None:
    embedder.spoil = lambda vectors: [[0.0] * len(vector) for vector in vectors]
    assert (by_meaning.save("pet", "dog")).embedded is False
    [hit] = by_meaning.search("dog")
    assert hit.arms == ("lexical",)
