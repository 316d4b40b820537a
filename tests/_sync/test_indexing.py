# Generated from tests/_async/test_indexing.py by tools/unasync.py: edit that file, then run `make generate`.
"""The index of a large scope: candidates come from it, and what is found is what is there."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from lakemem import Hit, Lakebase, Memory, ScopedMemory
from lakemem._sync import jobs as worker_module
from lakemem.large_scopes import PAUSE
from lakemem.operations import Operation, indexing
from lakemem.operations import recall as recall_module
from lakemem.ranking import Ranking
from tests.support.embedders import HashEmbedder, TopicEmbedder
from tests.support.rows import Rows

LARGE = 20
BY_MEANING = Ranking.by_meaning()
WORDS = ["lake", "hill", "river", "cloud", "stone", "maple", "ferry", "lamp", "violin", "bread"]


@pytest.fixture(autouse=True)
def _small_scopes_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lakemem.operations.recall", "lakemem.large_scopes", worker_module.__name__):
        monkeypatch.setattr(f"{module}.LARGE", LARGE)


@pytest.fixture
def memory(target: Lakebase) -> Iterator[Memory]:
    with Memory(target, embedder=HashEmbedder("hash", 16)) as memory:
        yield memory


@pytest.fixture
def alice(memory: Memory) -> ScopedMemory:
    return memory.for_user("alice")


@pytest.fixture
def rows(target: Lakebase) -> Rows:
    return Rows(target, "user:alice")


@pytest.fixture
def asked(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the searches that were asked of Postgres."""
    names: list[str] = []
    search = recall_module.search

    def noted(*args: object, **options: object) -> Operation[object]:
        operation = search(*args, **options)  # type: ignore[arg-type]
        names.append(operation.statement)
        return operation

    monkeypatch.setattr(recall_module, "search", noted)
    return names


def keys(hits: list[Hit]) -> list[str]:
    return [hit.key for hit in hits]


def fill(user: ScopedMemory, count: int = 3 * LARGE, *, first: int = 0) -> None:
    chance = random.Random(7 + first)
    for number in range(first, first + count):
        user.save(f"m{number}", f"{' '.join(chance.sample(WORDS, 4))} number{number}")


def settle(user: ScopedMemory, rows: Rows) -> None:
    """Let what is stored be so old that an index has it."""
    rows("UPDATE lakemem.memories SET stored_at = stored_at - interval '1 hour'")


def make_index(memory: Memory, user: ScopedMemory, rows: Rows) -> None:
    settle(user, rows)
    user.search("lake")
    assert (memory.worker().run_once()).indexed == 1
    user.search("lake")


def test_a_search_asks_for_an_index_and_a_worker_makes_it(
    memory: Memory, alice: ScopedMemory, rows: Rows, asked: list[str]
) -> None:
    fill(alice)
    settle(alice, rows)
    # The first one tells which of its words are common, and so does not ask the same.
    alice.search("Which maple stands by the ferry?")
    before = alice.search("Which maple stands by the ferry?", limit=20)
    assert rows("SELECT kind, status FROM lakemem.jobs") == [("index", "queued")]
    done = memory.worker().run_once()
    assert (done.jobs, done.indexed) == (1, 1)
    assert rows("SELECT count(*) FROM lakemem.jobs") == [(0,)]
    assert rows("SELECT memories FROM lakemem.indexes") == [(3 * LARGE,)]
    # The first one tells that there is an index.
    assert keys(alice.search("Which maple stands by the ferry?", limit=20)) == keys(before)
    after = alice.search("Which maple stands by the ferry?", limit=20, explain=True)
    assert asked == ["recall.search"] * 3 + ["indexed.search"]
    assert set(keys(after[:10])) == set(keys(before[:10]))
    assert [hit.matched_terms for hit in after[:3]] == [hit.matched_terms for hit in before[:3]]
    assert after[0].explanation is not None
    assert after[0].explanation.memories == 3 * LARGE


def test_by_meaning_alone_it_finds_exactly_what_is_nearest(
    memory: Memory, alice: ScopedMemory, rows: Rows, asked: list[str]
) -> None:
    fill(alice)
    settle(alice, rows)
    before = alice.search("a lamp", ranking=BY_MEANING)
    assert (memory.worker().run_once()).indexed == 1
    alice.search("a lamp", ranking=BY_MEANING)
    after = alice.search("a lamp", ranking=BY_MEANING)
    assert asked[-1] == "indexed.nearest"
    assert [(hit.key, hit.similarity) for hit in after] == [(hit.key, hit.similarity) for hit in before]


def test_a_small_scope_has_none(memory: Memory, alice: ScopedMemory, rows: Rows) -> None:
    fill(alice, LARGE - 1)
    alice.search("lake")
    alice.search("lake", ranking=BY_MEANING)
    assert rows("SELECT count(*) FROM lakemem.jobs") == [(0,)]
    assert (memory.worker().run_once()).indexed == 0


def test_an_index_is_asked_for_once_in_a_while(
    alice: ScopedMemory, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(alice)
    now = 1_000.0
    monkeypatch.setattr("lakemem.large_scopes.monotonic", lambda: now)
    for _ in range(3):
        alice.search("lake")
    rows("DELETE FROM lakemem.jobs")
    alice.search("lake")
    assert rows("SELECT count(*) FROM lakemem.jobs") == [(0,)]
    now += PAUSE + 1
    alice.search("lake")
    assert rows("SELECT count(*) FROM lakemem.jobs") == [(1,)]


def test_what_comes_after_it_is_found_and_what_was_changed_is_found_as_it_is(
    memory: Memory, alice: ScopedMemory, rows: Rows, asked: list[str]
) -> None:
    fill(alice)
    make_index(memory, alice, rows)
    alice.save("new", "a zeppelin over the harbour")
    alice.save("m3", "a gramophone in the attic")
    alice.delete("m4")
    alice.save("m5", "a barometer that is wrong", expires_in=3600)
    rows("UPDATE lakemem.memories SET expires_at = now() WHERE key = 'm5' AND valid_to IS NULL")
    assert "new" in keys(alice.search("zeppelin", limit=100))
    assert "m3" in keys(alice.search("gramophone", limit=100))
    found = {hit.key: hit for hit in alice.search("number3 number4 number5 barometer", limit=100)}
    assert found["m3"].value == "a gramophone in the attic"
    assert not found.keys() & {"m4", "m5"}
    assert "indexed.search" in asked[-3:]


def test_what_was_forgotten_or_has_expired_takes_no_place_of_what_is_near(
    memory: Memory, alice: ScopedMemory, rows: Rows, asked: list[str]
) -> None:
    fill(alice)
    make_index(memory, alice, rows)
    near = keys(alice.search("a lamp", ranking=BY_MEANING, limit=10))
    alice.delete(near[0])
    rows("UPDATE lakemem.memories SET expires_at = now() WHERE key = %s AND valid_to IS NULL", near[2])
    left = [key for key in near if key not in (near[0], near[2])]
    assert keys(alice.search("a lamp", ranking=BY_MEANING, limit=len(left))) == left
    assert set(asked[-2:]) == {"indexed.nearest"}


def test_words_that_stand_in_most_memories_are_matched_although_they_bring_no_candidates(
    memory: Memory, alice: ScopedMemory, rows: Rows, asked: list[str]
) -> None:
    for number in range(3 * LARGE):
        alice.save(f"m{number}", f"lake number{number}")
    make_index(memory, alice, rows)
    hits = alice.search("lake", limit=5)
    assert asked[-1] == "indexed.search"
    assert [hit.matched_terms for hit in hits] == [("lake",)] * 5


def test_what_it_does_not_know_of_is_searched_without_it(
    memory: Memory, alice: ScopedMemory, rows: Rows, asked: list[str]
) -> None:
    fill(alice)
    before = (alice.search("lake"))[0].record.valid_from
    make_index(memory, alice, rows)
    alice.save("tagged", "lake", namespace=("notes",), metadata={"a": 1})
    asked.clear()
    assert keys(alice.search("lake", namespace=("notes",))) == ["tagged"]
    assert keys(alice.search("lake", filter={"a": 1})) == ["tagged"]
    assert alice.search("lake", as_of=before)
    assert len(alice.search("lake", kind="fact")) == 10
    assert len(alice.search("lake", limit=None)) == 3 * LARGE + 1
    assert set(asked) == {"recall.search"}


def test_another_model_is_searched_without_it_and_has_one_made_of_its_own(
    memory: Memory, target: Lakebase, alice: ScopedMemory, rows: Rows
) -> None:
    fill(alice)
    make_index(memory, alice, rows)
    other = HashEmbedder("other", 8)
    memory.reembed(other)
    with Memory(target, embedder=other) as renewed:
        user = renewed.for_user("alice")
        exact = keys(user.search("river", ranking=BY_MEANING))
        assert (renewed.worker().run_once()).indexed == 1
        assert rows("SELECT model FROM lakemem.indexes") == [("other/8",)]
        user.search("river", ranking=BY_MEANING)
        assert keys(user.search("river", ranking=BY_MEANING)) == exact


def test_a_shared_scope_has_its_own(memory: Memory, target: Lakebase, asked: list[str]) -> None:
    acme = memory.for_scope("acme")
    fill(acme)
    Rows(target, "scope:acme")("UPDATE lakemem.memories SET stored_at = stored_at - interval '1 hour'")
    both = memory.for_user("alice", scopes=["acme"])
    both.save("mine", "an astrolabe")
    both.search("lake")
    assert (memory.worker().run_once()).indexed == 1
    both.search("lake")
    hits = both.search("the astrolabe by the violin", limit=100)
    assert asked[-1] == "indexed.search"
    assert {hit.record.owner for hit in hits} == {"user:alice", "scope:acme"}
    assert [hit.matched_terms for hit in hits if hit.key == "mine"] == [("astrolab",)]
    assert memory.for_user("bob").search("violin") == []


def test_an_erased_memory_takes_its_vector_and_its_words_with_it(
    memory: Memory, alice: ScopedMemory, rows: Rows
) -> None:
    fill(alice)
    make_index(memory, alice, rows)
    assert rows("SELECT cardinality(numbers) FROM lakemem.indexed_words WHERE word = 'number7'") == [(1,)]
    ((lakes,),) = rows("SELECT cardinality(numbers) FROM lakemem.indexed_words WHERE word = 'lake'")
    lake = next(key for key, text in rows("SELECT key, text FROM lakemem.memories") if "lake" in text)
    alice.forget(key=lake, erase=True)
    alice.forget(key="m7", erase=True)
    assert rows("SELECT count(*) FROM lakemem.indexed_words WHERE word = 'number7'") == [(0,)]
    left = {key for (key,) in rows("SELECT key FROM lakemem.indexed_memories")}
    assert not left & {lake, "m7"}
    ((after,),) = rows("SELECT cardinality(numbers) FROM lakemem.indexed_words WHERE word = 'lake'")
    assert after < lakes


def test_what_is_erased_while_it_is_made_is_taken_out_of_it(memory: Memory, alice: ScopedMemory, rows: Rows) -> None:
    fill(alice)
    make_index(memory, alice, rows)
    # As one who does not see an index that is not there yet: its triggers find nothing.
    rows("SELECT set_config('lakemem.owner', 'user:alice', false)")
    kept = rows("SELECT count(*) FROM lakemem.indexed_memories")
    rows(
        "INSERT INTO lakemem.indexed_memories (owner, number, version, key, namespace)"
        " VALUES ('user:alice', 999, 1, 'gone', '{}')"
    )
    rows("INSERT INTO lakemem.indexed_words VALUES ('user:alice', 'hapax', '{999}')")
    rows("UPDATE lakemem.indexed_words SET numbers = numbers || 999 WHERE word = 'lake'")
    memory._storage.run(indexing.purge(alice.owner))
    assert rows("SELECT count(*) FROM lakemem.indexed_memories") == kept
    assert rows("SELECT count(*) FROM lakemem.indexed_words WHERE 999 = ANY (numbers)") == [(0,)]
    assert rows("SELECT count(*) FROM lakemem.indexed_words WHERE word = 'hapax'") == [(0,)]


def test_an_erasure_of_everything_leaves_nothing(memory: Memory, alice: ScopedMemory, rows: Rows) -> None:
    fill(alice)
    make_index(memory, alice, rows)
    assert (alice.erase()).counts["indexed_memories"] == 3 * LARGE
    for table in ("indexes", "indexed_cells", "indexed_memories", "indexed_words"):
        assert rows(f"SELECT count(*) FROM lakemem.{table}") == [(0,)]  # type: ignore[arg-type]
    assert alice.search("lake") == []


def test_a_vector_that_comes_late_is_found_although_its_memory_was_indexed_without(
    target: Lakebase, rows: Rows
) -> None:
    embedder = TopicEmbedder()
    with Memory(target, embedder=embedder) as memory, Memory(target) as without:
        user = memory.for_user("alice")
        fill(user)
        without.for_user("alice").save("late", "a puppy")
        make_index(memory, user, rows)
        assert "late" not in keys(user.search("a dog and a cat", ranking=BY_MEANING))
        assert "late" in keys(user.search("puppy", limit=100))
        rows("INSERT INTO lakemem.jobs (owner, job_id, kind) VALUES ('user:alice', 'embed', 'embed')")
        assert (memory.worker().run_once()).vectors == 1
        user.search("a dog and a cat", ranking=BY_MEANING)
        assert keys(user.search("a dog and a cat", ranking=BY_MEANING))[0] == "late"


@pytest.mark.parametrize("seed", range(4))
def test_beside_any_history_it_finds_what_a_search_without_it_finds(
    memory: Memory, alice: ScopedMemory, rows: Rows, seed: int
) -> None:
    chance = random.Random(seed)
    fill(alice)
    for step in range(40):
        key = f"m{chance.randrange(4 * LARGE)}"
        what = chance.random()
        if what < 0.5:
            alice.save(key, f"{' '.join(chance.sample(WORDS, 3))} step{step}")
        elif what < 0.7 and alice.get(key) is not None:
            alice.forget(key=key, erase=chance.random() < 0.5)
        elif what < 0.8:
            settle(alice, rows)
            found = memory._storage.run(indexing.unindexed(alice.owner, "hash/16"))
            memory._storage.run(indexing.make(alice.owner, "hash/16", found.since))
            memory._storage.run(indexing.purge(alice.owner))
        question = chance.choice(WORDS)
        found = {}
        for is_indexed in (False, True):
            memory._embeddings.large_scopes.is_indexed = lambda owners, known=is_indexed: known  # type: ignore[method-assign]
            found[is_indexed] = alice.search(question, ranking=BY_MEANING)
            worded = {hit.key for hit in alice.search(question, limit=100) if question in hit.text}
            assert worded == {key for key, text in rows(
                "SELECT key, text FROM lakemem.memories WHERE valid_to IS NULL"
            ) if question in text}  # fmt: skip
        assert keys(found[True]) == keys(found[False])
