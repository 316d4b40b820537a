# Generated from tests/_async/test_reembedding.py by tools/unasync.py: edit that file, then run `make generate`.
"""An embedder is changed while memories are searched and written to, and no search ever compares two models."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgvector import HalfVector
from psycopg.conninfo import make_conninfo

from lakemem import (
    ConflictError,
    DimensionMismatchError,
    EmbedderUnavailableError,
    Hit,
    Lakebase,
    Memory,
    MemoryNotFoundError,
    Reembedded,
    ScopedMemory,
)
from lakemem.embedding import CheckedEmbedder
from lakemem.operations import reembedding
from lakemem.operations.reembedding import Filling, Place
from lakemem.testing.concurrency import gather
from tests._sync.examples import examples
from tests.support.embedders import HashEmbedder, TopicEmbedder
from tests.support.rows import Rows

OLD, NEW = HashEmbedder("old", 4), HashEmbedder("new", 8)
# The names that rows carry.
OLD_MODEL, NEW_MODEL = "old/4", "new/8"


@pytest.fixture
def memory(target: Lakebase) -> Iterator[Memory]:
    """The app with the old embedder."""
    with Memory(target, embedder=OLD) as memory:
        yield memory


@pytest.fixture
def renewed(target: Lakebase) -> Iterator[Memory]:
    """The app once it is started with the new one."""
    with Memory(target, embedder=NEW) as memory:
        yield memory


class Versions:
    """Every version of every memory with its vectors, as the owner of the tables sees them."""

    def __init__(self, target: Lakebase) -> None:
        self._rows = Rows(target, "maintenance")

    def models(self) -> dict[tuple[Any, ...], tuple[str | None, str | None]]:
        """The models of each version, after a look at the vectors: each must be that of its model and text."""
        found = {}
        for *address, text, model, vector, next_model, next_vector in self._rows(
            "SELECT owner, key, version, namespace::text, valid_from, text, embedding_model, embedding::text,"
            " next_embedding_model, next_embedding::text FROM lakemem.memories"
        ):
            for its_model, its_vector in ((model, vector), (next_model, next_vector)):
                assert (its_model is None) == (its_vector is None)
                if its_vector is not None:
                    assert HalfVector.from_text(its_vector).to_list() == vector_of(its_model, text).to_list()
            assert model is None or model != next_model
            found[tuple(address)] = (model, next_model)
        return found


def vector_of(model: str, text: str) -> HalfVector:
    name, _, dimensions = model.partition("/")
    [vector] = CheckedEmbedder(HashEmbedder(name, int(dimensions))).embed([text])
    assert vector is not None
    return HalfVector.from_text(vector)


def hit(user: ScopedMemory, text: str) -> Hit:
    """What a search for the very text of a memory finds first."""
    return (user.search(text, limit=1))[0]


def remember(memory: Memory, users: int = 3, each: int = 5) -> None:
    """Memories of several users, in several namespaces, each with an earlier version."""
    for user_id in range(users):
        user = memory.for_user(f"user {user_id}")
        for number in range(each):
            namespace = ("a", 'quo"ted, {label}') if number % 2 else ()
            user.save(f"key {number}", "before", text=f"earlier {user_id} {number}", namespace=namespace)
            user.save(f"key {number}", "now", text=f"{user_id} says {number}", namespace=namespace)


def test_the_app_finds_everything_at_every_moment(
    memory: Memory, renewed: Memory, target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "BATCH", 4)
    remember(memory)

    told: list[Reembedded] = []
    reembedded = memory.reembed(NEW, progress=told.append)
    assert reembedded == Reembedded(model=NEW_MODEL, filled=30, models={NEW_MODEL: 30, OLD_MODEL: 30})
    assert [each.filled + each.left for each in told] == [30] * len(told)
    assert (told[0].filled, told[-1].filled) == (0, 30)
    assert set(Versions(target).models().values()) == {(OLD_MODEL, NEW_MODEL)}
    for app in (memory, renewed):
        for user_id in range(3):
            found = hit(app.for_user(f"user {user_id}"), f"{user_id} says 1")
            assert found.similarity == pytest.approx(1, abs=1e-2)
    finished = memory.reembed(NEW, finish=True)
    assert finished == Reembedded(model=NEW_MODEL, moved=30, models={NEW_MODEL: 30})
    assert set(Versions(target).models().values()) == {(NEW_MODEL, None)}
    assert (hit(renewed.for_user("user 2"), "2 says 4")).similarity == pytest.approx(1, abs=1e-2)
    # The app that was not started anew is left with words; it never compares what cannot be compared.
    late = hit(memory.for_user("user 2"), "2 says 4")
    assert (late.similarity, late.key) == (None, "key 4")
    assert memory.reembed(NEW, finish=True) == Reembedded(model=NEW_MODEL, models={NEW_MODEL: 30})


def test_current_versions_come_first(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reembedding, "BATCH", 3)
    remember(memory)
    embedder = HashEmbedder("new")
    memory.reembed(embedder)
    assert all("says" in text for text in embedder.texts[:15])
    assert all("earlier" in text for text in embedder.texts[15:])


def test_a_dry_run_says_what_there_is_to_do(memory: Memory, target: Lakebase) -> None:
    remember(memory)
    before = Versions(target).models()
    looked = memory.reembed(HashEmbedder("new", refuses=""), dry_run=True)
    assert looked == Reembedded(model=NEW_MODEL, left=30, models={OLD_MODEL: 30})
    assert Versions(target).models() == before


def test_the_first_embedder_of_an_app_takes_the_same_way(target: Lakebase, renewed: Memory) -> None:
    with Memory(target) as without:
        remember(without, users=1)
        assert without.reembed(NEW) == Reembedded(model=NEW_MODEL, filled=10, models={NEW_MODEL: 10})
    assert (hit(renewed.for_user("user 0"), "0 says 2")).similarity == pytest.approx(1, abs=1e-2)
    renewed.reembed(NEW, finish=True)
    assert set(Versions(target).models().values()) == {(NEW_MODEL, None)}


class Beside(HashEmbedder):
    """While it works, other memories take the places of those that it is asked about.

    Args:
        times: how often.
    """

    def __init__(self, target: Lakebase, times: int) -> None:
        super().__init__("new")
        self._target = target
        self.left = times

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self.left:
            self.left -= 1
            with Memory(self._target, embedder=OLD) as memory:
                user = memory.for_user("user 0")
                user.delete("key 0", erase=True)
                for version in (1, 2):
                    user.save("key 0", f"{self.left} {version}")
        return super().embed(texts)


def test_what_is_saved_meanwhile_is_picked_up(memory: Memory, target: Lakebase) -> None:
    remember(memory)
    assert (memory.reembed(Beside(target, times=3))).left == 0
    assert {models[1] for models in Versions(target).models().values()} == {NEW_MODEL}
    memory.for_user("user 1").save("another", 1)
    assert (memory.reembed(NEW, dry_run=True)).left == 1


def test_an_app_that_saves_all_the_time_does_not_hold_it_up(memory: Memory, target: Lakebase) -> None:
    remember(memory)
    reembedded = memory.reembed(Beside(target, times=10**9))
    assert (reembedded.filled, reembedded.left) == (28, 2)
    Versions(target).models()


def test_a_failing_embedder_is_named_and_what_was_done_is_kept(
    memory: Memory, target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "BATCH", 4)
    remember(memory)

    class Breaking(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> list[list[float]]:
            if len(self.texts) >= 8:
                raise TimeoutError("of a secret text")
            return super().embed(texts)

    with pytest.raises(EmbedderUnavailableError, match="new failed with TimeoutError; 8 versions") as failed:
        memory.reembed(Breaking("new"))
    assert "secret" not in str(failed.value)
    again = HashEmbedder("new")
    assert (memory.reembed(again)).filled == 22
    assert len(again.texts) == 22
    assert {models[1] for models in Versions(target).models().values()} == {NEW_MODEL}


def test_an_embedder_of_other_dimensions_than_it_says_is_an_error(memory: Memory, target: Lakebase) -> None:
    remember(memory)
    wrong = TopicEmbedder(spoil=lambda vectors: [vector[:2] for vector in vectors])
    with pytest.raises(DimensionMismatchError, match="0 versions"):
        memory.reembed(wrong)
    assert {models[1] for models in Versions(target).models().values()} == {None}


def test_a_text_that_the_embedder_refuses_holds_up_no_other(memory: Memory, target: Lakebase) -> None:
    remember(memory)
    alice = memory.for_user("alice")
    alice.save("long", "much too loooong")
    alice.save("short", "short")
    embedder = HashEmbedder("new", refuses="loooong")
    reembedded = memory.reembed(embedder, finish=True)
    assert (reembedded.filled, reembedded.moved, reembedded.without_vector, reembedded.left) == (31, 31, 1, 1)
    refused = [key for (_, key, *_), models in Versions(target).models().items() if models == (OLD_MODEL, None)]
    assert refused == ["long"]
    assert (memory.reembed(embedder)).without_vector == 1


def test_a_change_that_was_begun_is_not_mixed_with_another(memory: Memory, target: Lakebase) -> None:
    remember(memory)
    memory.reembed(NEW)
    third = HashEmbedder("third", 5)
    with pytest.raises(ConflictError, match="30 versions hold vectors of new/8"):
        memory.reembed(third)
    assert set(Versions(target).models().values()) == {(OLD_MODEL, NEW_MODEL)}
    assert (memory.reembed(third, dry_run=True)).left == 30
    memory.reembed(third, replace=True)
    assert set(Versions(target).models().values()) == {(OLD_MODEL, "third/5")}
    # And back to what it was, whatever was begun.
    memory.reembed(OLD, finish=True)
    assert set(Versions(target).models().values()) == {(OLD_MODEL, None)}


def test_what_has_expired_is_left_alone(memory: Memory, target: Lakebase) -> None:
    memory.for_user("alice").save("gone", "gone", expires_in=60)
    Rows(target, "user:alice")("UPDATE lakemem.memories SET expires_at = now() - interval '1 s'")
    embedder = HashEmbedder("new")
    assert memory.reembed(embedder) == Reembedded(model=NEW_MODEL)
    assert embedder.texts == []


def test_long_vectors_lie_in_their_rows_again_in_the_end(target: Lakebase) -> None:
    small, large = HashEmbedder("small", 384), HashEmbedder("large", 1024)
    with Memory(target, embedder=small) as memory:
        rows = Rows(target, "user:alice")
        if rows("SHOW server_version_num")[0][0] < "170000":
            pytest.skip("before 17 Postgres does not say where a value lies")
        for number in range(5):
            memory.for_user("alice").save(f"key {number}", f"{number} " * 300)
        memory.reembed(large)
        outside = "SELECT count(pg_column_toast_chunk_id(embedding)), count(pg_column_toast_chunk_id(next_embedding))"
        assert rows(outside + " FROM lakemem.memories") == [(0, 5)]
        memory.reembed(large, finish=True)
        assert rows(outside + " FROM lakemem.memories") == [(0, 0)]
        assert set(Versions(target).models().values()) == {("large/1024", None)}


def test_the_longest_vectors_fit_beside_each_other(target: Lakebase) -> None:
    with Memory(target, embedder=HashEmbedder("a", 3800)) as memory:
        memory.for_user("alice").save("key", "word " * 1000)
        memory.reembed(HashEmbedder("b", 3800))
        assert set(Versions(target).models().values()) == {("a/3800", "b/3800")}
        memory.reembed(HashEmbedder("b", 3800), finish=True)
        assert set(Versions(target).models().values()) == {("b/3800", None)}


def test_killed_in_the_middle_it_goes_on_from_there(memory: Memory, target: Lakebase) -> None:
    remember(memory, users=4, each=10)
    script = """
import os, signal, sys
from lakemem import Lakebase, Memory
from lakemem.operations import reembedding
from tests.support.embedders import HashEmbedder

class Killed(HashEmbedder):
    def embed(self, texts):
        if len(self.texts) >= 21:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(texts)

reembedding.BATCH = 7
with Memory(Lakebase.dsn(sys.argv[1])) as memory:
    memory.reembed(Killed("new"))
"""
    dsn = make_conninfo(**target.parameters)
    killed = subprocess.run(
        [sys.executable, "-c", script, dsn], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert killed.returncode == -signal.SIGKILL
    models = list(Versions(target).models().values())
    assert models.count((OLD_MODEL, NEW_MODEL)) == 21
    again = HashEmbedder("new")
    assert (memory.reembed(again, finish=True)).left == 0
    assert len(again.texts) == 80 - 21
    assert set(Versions(target).models().values()) == {(NEW_MODEL, None)}


def test_beside_writers_of_both_embedders(
    memory: Memory, renewed: Memory, target: Lakebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "BATCH", 5)
    monkeypatch.setattr(reembedding, "MOVED", 5)
    remember(memory, users=2, each=20)

    def write(app: Memory, seed: int) -> None:
        chance = random.Random(seed)
        for number in range(60):
            user, key = app.for_user(f"user {chance.randrange(2)}"), f"key {chance.randrange(20)}"
            namespace = ("a", 'quo"ted, {label}') if int(key[4:]) % 2 else ()
            with suppress(MemoryNotFoundError):
                match chance.randrange(5):
                    case 0 | 1:
                        user.save(key, f"{seed} {number}", namespace=namespace)
                    case 2:
                        user.update(key, namespace=namespace, metadata={"n": number})
                    case 3:
                        user.delete(key, namespace=namespace, erase=True)
                        user.save(key, f"again {seed} {number}", namespace=namespace)
                    case 4:
                        user.search(f"says {number}", limit=3)

    calls: list[Any] = [partial(write, app, seed) for seed, app in enumerate([memory, renewed, memory, renewed])]
    changes: list[Any] = [partial(memory.reembed, NEW), partial(memory.reembed, NEW, finish=True)]
    gather([*calls, *changes])
    Versions(target).models()
    assert (memory.reembed(NEW, finish=True)).left == 0
    assert set(Versions(target).models().values()) == {(NEW_MODEL, None)}


def test_a_page_that_comes_late_changes_nothing(memory: Memory, target: Lakebase) -> None:
    memory.for_user("alice").save("key", "value")
    page = memory._storage.run(reembedding.unfilled(NEW_MODEL, Place(), current=True, replace=False))
    vectors = CheckedEmbedder(NEW).embed([each.text for each in page])
    fillings = [Filling(each, vector) for each, vector in zip(page, vectors, strict=True)]
    memory.reembed(NEW, finish=True)
    for replace in (False, True):
        fill = reembedding.fill("user:alice", NEW_MODEL, fillings, replace=replace)
        assert memory._storage.run(fill) == 0
    assert set(Versions(target).models().values()) == {(NEW_MODEL, None)}


# Any interleaving: a page is read, and much may happen before what was made of it is written.

steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["save", "save", "update", "rewrite", "delete", "erase", "look", "fill", "fill", "see", "move"]
        ),
        st.sampled_from("abc"),
        st.booleans(),
    ),
    min_size=5,
    max_size=30,
)


@pytest.fixture(scope="module")
def shared(databases: Any) -> Iterator[Lakebase]:
    """One database for all examples, each of which leaves it empty."""
    created = databases.create()
    yield created
    databases.drop(created)


@settings(max_examples=examples(60), derandomize=True)
@given(sequence=steps)
def test_no_interleaving_gives_a_version_the_vector_of_another(
    shared: Lakebase, sequence: list[tuple[str, str, bool]]
) -> None:
    Rows(shared, "user:alice")("DELETE FROM lakemem.memories")
    pages: list[list[Filling]] = []
    places: list[list[Place]] = []
    had: set[tuple[Any, ...]] = set()
    with Memory(shared, embedder=OLD) as old, Memory(shared, embedder=NEW) as new:
        for number, (step, key, flag) in enumerate(sequence):
            user = (new if flag else old).for_user("alice")
            match step:
                case "save":
                    user.save(key, number)
                case "update" | "rewrite":
                    text = f"{number}" if step == "rewrite" else None
                    with suppress(MemoryNotFoundError):
                        user.update(key, metadata={"n": number}, text=text)
                case "delete" | "erase":
                    user.delete(key, erase=step == "erase")
                case "look":
                    page = old._storage.run(
                        reembedding.unfilled(NEW_MODEL, Place(), current=flag, replace=False)
                    )  # fmt: skip
                    vectors = CheckedEmbedder(NEW).embed([each.text for each in page])
                    pages.append([Filling(each, vector) for each, vector in zip(page, vectors, strict=True)])
                case "fill" if pages:
                    # Perhaps an old page, and perhaps one that was written before.
                    fillings = pages[number % len(pages)]
                    old._storage.run(reembedding.fill("user:alice", NEW_MODEL, fillings, replace=False))
                case "see":
                    places.append(old._storage.run(reembedding.unmoved(NEW_MODEL, Place())))
                case "move" if places:
                    old._storage.run(
                        reembedding.move("user:alice", NEW_MODEL, places[number % len(places)])
                    )  # fmt: skip
            models = Versions(shared).models()
            have = {address for address, its in models.items() if NEW_MODEL in its}
            assert have >= had & models.keys(), "a version lost the new vector that it had"
            had = have
        if models := Versions(shared).models():
            assert (old.reembed(NEW, finish=True)).left == 0
            assert set(Versions(shared).models().values()) == {(NEW_MODEL, None)}
            assert models.keys() == Versions(shared).models().keys()
