# Generated from tests/_async/test_recall.py by tools/unasync.py: edit that file, then run `make generate`.
"""What a search takes into account beyond meaning and words: time, threads, labels, scopes, and other rankings."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from lakemem import Hit, InvalidInputError, Lakebase, Memory, Ranking, ScopedMemory
from lakemem.operations import recall
from lakemem.testing import DatabaseFactory
from tests.support.embedders import TopicEmbedder


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def embedder() -> TopicEmbedder:
    return TopicEmbedder()


@pytest.fixture
def embedding(target: Lakebase, embedder: TopicEmbedder) -> Iterator[Memory]:
    with Memory(target, embedder=embedder) as memory:
        yield memory


@pytest.fixture
def user(embedding: Memory) -> ScopedMemory:
    return embedding.for_user(f"ada {uuid.uuid4()}")


@pytest.fixture
def by_words(memory: Memory) -> ScopedMemory:
    return memory.for_user(f"ada {uuid.uuid4()}")


def keys(hits: Sequence[Hit]) -> list[str]:
    return [hit.key for hit in hits]


def at(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def test_as_of_searches_what_was_held_true_then(by_words: ScopedMemory) -> None:
    first = by_words.save("home", "lives in Lisbon")
    second = by_words.update("home", "lives in Porto")
    by_words.delete("home")
    assert keys(by_words.search("Lisbon", as_of=first.valid_from)) == ["home"]
    assert by_words.search("Lisbon", as_of=second.valid_from) == []
    [hit] = by_words.search("Porto", as_of=second.valid_from)
    assert (hit.value, hit.record.version) == ("lives in Porto", 2)
    assert by_words.search("Porto") == []
    assert by_words.search("Lisbon", as_of=first.valid_from - timedelta(seconds=1)) == []


def test_as_of_brings_nothing_back_that_has_expired(by_words: ScopedMemory) -> None:
    saved = by_words.save("code", "the door code", expires_in=0.3)
    assert keys(by_words.search("code", as_of=saved.valid_from)) == ["code"]
    time.sleep(0.4)
    assert by_words.search("code", as_of=saved.valid_from) == []


def test_between_confines_to_what_happened_then(by_words: ScopedMemory) -> None:
    for month in (4, 5, 6):
        by_words.save(f"m{month}", "went sailing", occurred_at=at(f"2023-0{month}-01"))
    by_words.save("now", "went sailing")
    may = (at("2023-05-01"), at("2023-06-01"))
    assert keys(by_words.search("sailing", between=may)) == ["m5"]
    assert set(keys(by_words.search("sailing", between=(None, may[1])))) == {"m4", "m5"}
    assert set(keys(by_words.search("sailing", between=(may[1], None)))) == {"m6", "now"}, "saved now counts as now"


def test_a_period_in_the_question_speaks_for_what_happened_then(by_words: ScopedMemory) -> None:
    for day in ("2023-04-10", "2023-05-10", "2024-05-10"):
        by_words.save(day, "went sailing", occurred_at=at(day))
    by_words.save("undated", "went sailing")
    assert keys(by_words.search("sailing in May 2023"))[0] == "2023-05-10"
    assert set(keys(by_words.search("sailing in May"))[:2]) == {"2023-05-10", "2024-05-10"}
    hits = by_words.search("sailing last month", asked_at=at("2023-05-20"), explain=True)
    assert [hit.key for hit in hits if hit.explanation and hit.explanation.in_period] == ["2023-04-10"]
    assert hits[0].key == "2023-04-10"
    assert len(hits) == 4, "it is no condition"


def test_a_turn_is_lifted_by_the_one_beside_it(by_words: ScopedMemory) -> None:
    by_words.save("question", "Which harbour do you like best?", thread_id="t", position=1)
    by_words.save("answer", "The old harbour", thread_id="t", position=2)
    by_words.save("other", "The old harbour", thread_id="u", position=2)
    by_words.save("far", "The old harbour", thread_id="t", position=9)
    hits = {hit.key: hit for hit in by_words.search("Which harbour does she like best?", explain=True)}
    explanation = {key: hit.explanation for key, hit in hits.items() if hit.explanation}
    assert explanation["answer"].beside == pytest.approx(0.5), "the weight of the words, of which the best has all"
    assert explanation["other"].beside is None
    assert explanation["far"].beside is None
    assert explanation["far"].of_thread == explanation["question"].of_thread
    assert hits["question"].score > hits["answer"].score > hits["far"].score > hits["other"].score


def test_what_fits_in_nothing_is_not_lifted_into_the_hits(by_words: ScopedMemory) -> None:
    by_words.save("question", "Which harbour?", thread_id="t", position=1)
    by_words.save("beside", "Let me see", thread_id="t", position=2)
    assert keys(by_words.search("harbour")) == ["question"]


def test_neighbors_bring_the_turns_around_a_hit(by_words: ScopedMemory) -> None:
    for position, text in enumerate(["one", "two", "harbour", "four", "five"]):
        by_words.save(f"k{position}", text, thread_id="t", position=position, metadata={"n": position})
    by_words.save("other", "six", thread_id="other", position=3)
    by_words.delete("k3")
    [hit] = by_words.search("harbour", neighbors=2)
    assert [turn.key for turn in hit.neighbors] == ["k0", "k1", "k4"]
    assert hit.neighbors[0] == by_words.get("k0")
    [hit] = by_words.search("harbour", neighbors=1)
    assert [turn.key for turn in hit.neighbors] == ["k1"]
    assert (by_words.search("harbour"))[0].neighbors == ()


def test_a_label_that_the_question_names_alone_speaks_for_its_memories(by_words: ScopedMemory) -> None:
    by_words.save("a", "likes the harbour", metadata={"speaker": "Ada"})
    by_words.save("b", "likes the harbour", metadata={"speaker": "Mary Ann"})
    by_words.save("c", "likes the harbour", metadata={"n": 1, "deep": {"speaker": "Ada"}})

    def labelled(query: str) -> list[str]:
        hits = by_words.search(query, explain=True)
        return [hit.key for hit in hits if hit.explanation and hit.explanation.labelled]

    assert labelled("Does Ada like the harbour?") == ["a"]
    assert labelled("What is Mary Ann's harbour?") == ["b"]
    assert labelled("Do Ada and Mary Ann like the harbour?") == [], "that tells them apart in nothing"
    assert labelled("Does Bob like the harbour?") == []
    assert keys(by_words.search("Mary Ann's harbour"))[0] == "b"


def test_common_words_are_left_out_of_the_second_vector(user: ScopedMemory, embedder: TopicEmbedder) -> None:
    for n in range(30):
        user.save(f"k{n}", f"ada and thing {n}")
    embedder.texts.clear()
    user.search("what did ada eat")
    assert embedder.texts == ["what did ada eat"], "nothing is known of a word in small letters"
    user.search("what did ada eat for dinner")
    assert embedder.texts[1:] == ["what did ada eat for dinner", "what did eat for dinner"], "it stands in all of them"
    embedder.texts.clear()
    user.search("Did Zoe meet ada?")
    assert embedder.texts[1:] == ["Did meet"], "a capital may be a name"
    user.search("Did Zoe meet him?")
    assert embedder.texts[2:] == ["Did Zoe meet him?"], "but no memory has it"


def test_a_question_is_compared_by_meaning_also_without_its_common_words(user: ScopedMemory) -> None:
    user.save("dog", "a dog")
    [hit] = user.search("Which food does the puppy Rex have?")
    assert hit.similarity == pytest.approx(0.7454, abs=2e-3), "of the whole question: a pet, a food, and else"


def test_what_was_saved_without_an_embedder_gets_its_vector_when_it_is_saved_again(
    user: ScopedMemory, memory: Memory, embedder: TopicEmbedder
) -> None:
    plain = memory.for_user(user.owner.removeprefix("user:"))
    assert (plain.save("pet", "a dog")).embedded is False
    again = user.save("pet", "a dog")
    assert (again.version, again.outcome, again.embedded) == (1, "unchanged", True)
    assert (user.search("puppy"))[0].similarity is not None
    assert (plain.save("pet", "a dog")).embedded is True, "it is not taken away"


def test_search_many_answers_each_question_as_search_does(user: ScopedMemory) -> None:
    for key, text in [("a", "a dog"), ("b", "a train to Rome"), ("c", "pasta")]:
        user.save(key, text)
    queries = ["the puppy", "a journey", "zebra pasta", "dog"]
    many = user.search_many(queries, limit=2)
    assert many == [user.search(query, limit=2) for query in queries]
    assert [hits[0].key for hits in many] == ["a", "b", "c", "a"]
    assert user.search_many([]) == []
    with pytest.raises(InvalidInputError):
        user.search_many(["dog", " "])


def test_a_kind_of_memory_can_be_asked_for(by_words: ScopedMemory) -> None:
    by_words.save("fact", "likes the harbour")
    assert keys(by_words.search("harbour", kind="fact")) == ["fact"]
    assert by_words.search("harbour", kind="turn") == []
    with pytest.raises(InvalidInputError):
        by_words.search("harbour", kind="rumour")  # type: ignore[arg-type]


def test_by_meaning_is_the_exact_order_of_the_similarities(user: ScopedMemory) -> None:
    for key, text in [("a", "a dog"), ("b", "dog food"), ("c", "dinner"), ("d", "a dog for dinner on a train")]:
        user.save(key, text)
    hits = user.search("puppy", ranking=Ranking.by_meaning())
    assert keys(hits) == ["a", "b", "d", "c"]
    assert [hit.score for hit in hits] == [hit.similarity for hit in hits]
    assert {hit.arms for hit in hits} == {("dense",)}
    assert keys(user.search("puppy", ranking=Ranking.by_meaning(), limit=2)) == ["a", "b"]
    assert keys(user.search("puppy", ranking=Ranking.by_meaning(), min_similarity=0.7)) == ["a", "b"]


def test_by_words_asks_no_embedder(user: ScopedMemory, embedder: TopicEmbedder) -> None:
    user.save("a", "a dog")
    user.save("b", "a puppy")
    embedder.texts.clear()
    [hit] = user.search("puppy", ranking=Ranking.by_words())
    assert (hit.key, hit.arms, hit.score) == ("b", ("lexical",), 1)
    assert embedder.texts == []


def test_reciprocal_ranks_add_up_as_their_formula_says(user: ScopedMemory) -> None:
    for key, text in [("a", "a dog"), ("b", "a puppy and pasta"), ("c", "a rocket")]:
        user.save(key, text)
    hits = user.search("puppy", ranking=Ranking.reciprocal(), explain=True)
    told = {hit.key: (hit.explanation.dense_rank, hit.explanation.lexical_rank) for hit in hits if hit.explanation}
    assert told == {"a": (1, None), "b": (2, 1), "c": (3, None)}
    assert [hit.key for hit in hits] == ["b", "a", "c"]
    assert hits[0].score == pytest.approx((1 / 62 + 1 / 61) / (2 / 61))
    assert hits[1].score == pytest.approx((1 / 61) / (2 / 61))


def test_importance_and_recency_count_where_they_are_asked_to(by_words: ScopedMemory) -> None:
    by_words.save("old", "the harbour", importance=1.0, occurred_at=at("2020-01-01"))
    by_words.save("new", "the harbour", importance=0.0)
    assert keys(by_words.search("harbour", ranking=Ranking(importance=0.5)))[0] == "old"
    assert keys(by_words.search("harbour", ranking=Ranking(recency=0.5)))[0] == "new"


def test_an_explanation_says_what_made_the_score(user: ScopedMemory) -> None:
    user.save("a", "a dog", thread_id="t", position=1)
    user.save("b", "pasta")
    first, second = user.search("dog", explain=True)
    told = first.explanation
    assert told is not None
    assert second.explanation is not None
    assert (told.dense_rank, told.lexical_rank, told.memories) == (1, 1, 2)
    assert (second.explanation.dense_rank, second.explanation.lexical_rank) == (2, None)
    assert told.search_seconds > 0
    assert told.embedding_seconds >= 0
    assert (user.search("dog"))[0].explanation is None


@pytest.mark.parametrize(
    "weights",
    [{"dense": -1}, {"dense": 0, "lexical": 0}, {"half_life": 0}, {"beside": float("nan")}, {"shortlist": -1}],
)
def test_a_ranking_that_cannot_be_is_refused(weights: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        Ranking(**weights)  # type: ignore[arg-type]


def test_context_writes_what_a_search_finds_into_the_instructions(by_words: ScopedMemory) -> None:
    for position, text in enumerate(["Which harbour?", "The old one", "Why?"]):
        by_words.save(f"k{position}", text, thread_id="t", position=position, occurred_at=at("2023-05-01"))
    context = by_words.context("harbour", max_tokens=500)
    assert keys(context.hits) == ["k0"]
    assert "2023-05-01" in context.text
    assert "The old one" in context.text, "the turn beside it comes along"
    assert "Why" not in context.text
    assert "The old one" not in (by_words.context("harbour", neighbors=0)).text
    assert (by_words.context("zebra")).text == ""
    assert (by_words.context("harbour", max_tokens=1)).left_out == 1


class Backwards:
    """Likes best what the search liked least."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self._wait = threading.Event()
        self._seconds = seconds

    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        self._wait.wait(self._seconds)
        self.asked.append((query, list(texts)))
        return [float(place) for place in range(len(texts))]


class Broken:
    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        raise ValueError(f"cannot read {query}")


class Short:
    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return [1.0]


def test_a_reranker_puts_the_hits_into_its_order(by_words: ScopedMemory) -> None:
    for n in range(4):
        by_words.save(f"k{n}", "harbour" + " boat" * n)
    plain = keys(by_words.search("harbour boat"))
    reranker = Backwards()
    hits = by_words.search("harbour boat", limit=2, reranker=reranker)
    assert keys(hits) == plain[::-1][:2], "it is shown more than are asked for"
    assert [hit.reranked for hit in hits] == [3.0, 2.0]
    assert reranker.asked[0][0] == "harbour boat"
    assert len(reranker.asked[0][1]) == 4


@pytest.mark.parametrize("reranker", [Broken(), Short(), Backwards(seconds=5)])
def test_without_its_answer_the_order_of_the_search_stands(
    by_words: ScopedMemory, reranker: Backwards, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(3):
        by_words.save(f"k{n}", "harbour" + " boat" * n)
    plain = by_words.search("harbour boat", limit=2)
    assert by_words.search("harbour boat", limit=2, reranker=reranker, rerank_deadline=0.2) == plain
    assert "the order of the search stands" in caplog.text
    assert "harbour" not in caplog.text


def test_a_search_finds_the_memories_of_scopes_that_it_may_read(memory: Memory) -> None:
    tag = str(uuid.uuid4())
    team, other = memory.for_scope({"team": tag}), memory.for_scope(f"other {tag}")
    team.save("harbour", "the harbour of the team")
    other.save("harbour", "the harbour of others")
    ada = memory.for_user(f"ada {tag}", scopes=[{"team": tag}])
    ada.save("harbour", "my harbour")
    hits = ada.search("harbour")
    assert {hit.record.owner for hit in hits} == {f"user:ada {tag}", f"scopes:team={tag}"}
    assert len(hits) == 2
    everywhere = memory.for_user(f"ada {tag}", scopes=[{"team": tag}, f"other {tag}"])
    assert len(everywhere.search("harbour")) == 3
    assert len(everywhere.search("harbour", as_of=datetime.now(UTC))) == 3
    alone = memory.for_user(f"ada {tag}")
    assert len(alone.search("harbour")) == 1, "nothing is left of the scopes on the connection"
    assert [record.value for record in ada.items()] == ["my harbour"], "all else is the user's own"
    ada.delete("harbour")
    assert keys(team.search("harbour")) == ["harbour"]


def test_the_parts_of_a_scope_have_no_order_and_no_two_scopes_are_one(memory: Memory) -> None:
    def owner(scope: dict[str, str] | str) -> str:
        return memory.for_scope(scope).owner

    assert owner({"team": "a", "agent": "b"}) == owner({"agent": "b", "team": "a"})
    different = [
        {"team": "a", "agent": "b"},
        {"team": "a&agent=b"},
        {"team": "a"},
        "team=a",
        {"teama": ""},
        {"a": "team"},
    ]
    named = []
    for scope in different:
        try:
            named.append(owner(scope))  # type: ignore[arg-type]
        except InvalidInputError:
            assert scope == {"teama": ""}
    assert len(set(named)) == len(different) - 1
    with pytest.raises(InvalidInputError):
        owner({})


def test_bad_arguments_are_refused_before_anything_is_asked(user: ScopedMemory, embedder: TopicEmbedder) -> None:
    now = datetime.now(UTC)
    for options in (
        {"between": (now, now)}, {"between": (now, now - timedelta(1))}, {"as_of": datetime(2020, 1, 1)},
        {"neighbors": -1}, {"limit": -1}, {"asked_at": datetime(2020, 1, 1)}, {"between": ("a", None)},
    ):  # fmt: skip
        with pytest.raises(InvalidInputError):
            user.search("dog", **options)  # type: ignore[arg-type]


def test_the_dense_arm_compares_with_what_lies_half_way_to_the_question_without_its_common_words(
    embedding: Memory, embedder: TopicEmbedder, user: ScopedMemory
) -> None:
    for topics in ("dog", "train", "dog train"):
        user.save(topics, topics)
    dogs, trains, opposite = "[1,0,0,0]", "[0,0,1,0]", "[-1,0,0,0]"
    for reduced, nearest in ((None, "dog"), (dogs, "dog"), (trains, "dog train"), (opposite, "dog")):
        asked = recall.question("x", whole=dogs, reduced=reduced)
        [found] = embedding._storage.run(recall.search(user.owner, [asked], model=f"{embedder.model}/4"))
        assert found.hits[0].key == nearest
        assert found.hits[0].dense == 1
        # What is told of each hit is how similar it is to the whole question.
        similar = {hit.key: hit.similarity for hit in found.hits}
        assert similar["dog"] > similar["dog train"] > similar["train"] == pytest.approx(0, abs=0.01)


def test_what_was_embedded_before_is_not_asked_for_again(user: ScopedMemory, embedder: TopicEmbedder) -> None:
    user.save("pet", "a dog")
    first = user.search("which puppy")
    asked = list(embedder.texts)
    assert user.search("which puppy") == first
    assert embedder.texts == asked
