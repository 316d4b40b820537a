"""What is encrypted, and that nothing of it is in the database; on real Postgres."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from lakemem import (
    AsyncMemory,
    ConfigurationError,
    Encryption,
    EncryptionError,
    Guard,
    Lakebase,
    MasterKeys,
    OnHoldError,
    PatternRedactor,
    caches,
)
from lakemem._sql import bind_statements
from lakemem.cli import main
from lakemem.encryption import Cipher, DataKey, Opener, OwnerKeys
from lakemem.operations import resealing
from lakemem.sealing.rules import RULES
from tests._async.belongings import fill
from tests.conftest import connect
from tests.encryption.conftest import MASTER
from tests.support.embedders import TopicEmbedder

SECRET = "kumquat"
IN_CLEAR = {"runs", "run_events", "threads"}
"""Tables that hold words of an owner in clear: what is said in them is in docs/how-to/encryption.md."""


def dump(target: Lakebase, *, besides: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    """Every row of every table, as Postgres writes it."""
    with connect(target, user="postgres") as connection:
        tables = connection.execute(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'lakemem'::regnamespace AND relkind IN ('r', 'p')"
        ).fetchall()
        return "\n".join(
            str(row)
            for (table,) in tables
            if table not in besides
            for row in connection.execute(
                sql.SQL("SELECT t::text FROM lakemem.{} AS t").format(sql.Identifier(str(table)))
            )
        )


def as_in_another_process(memory: AsyncMemory) -> None:
    """What is dropped or rotated here does not reach the keys that this one keeps."""
    caches._caches.discard(memory._storage._ring)  # type: ignore[attr-defined]


def execute(target: Lakebase, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connect(target, user="postgres") as connection:
        cursor = connection.execute(statement, parameters)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []  # type: ignore[return-value]


def without_metadata(text: str) -> str:
    """Metadata, and the labels that are made of it, are in clear."""
    return text.replace(f'""note"": ""{SECRET}""', "").replace(f"{{{SECRET}}}", "")


async def test_nothing_that_is_written_can_be_read_in_the_database(target: Lakebase, encryption: Encryption) -> None:
    async with AsyncMemory(target, embedder=TopicEmbedder(), encryption=encryption) as memory:
        user = memory.for_user("alice")
        await fill(memory, user, SECRET)
        await user.save(None, f"a {SECRET} a day")
        await user.save("list", [SECRET, 1])
        await user.update("list", {"fruit": SECRET}, text=f"{SECRET} again")
        await user.revert("colour", 1, namespace=("likes",))
        thread = user.thread("t")
        await thread.replace_tail(None, [{"role": "user", "content": SECRET}])
        await thread.append([{"role": "assistant", "content": SECRET}])
    found = without_metadata(dump(target, besides=IN_CLEAR))
    assert "alice" in found
    assert SECRET not in found


async def test_without_encryption_the_same_search_finds_it(target: Lakebase) -> None:
    async with AsyncMemory(target) as memory:
        await memory.for_user("alice").thread("t").append([{"content": SECRET}])
        await memory.for_user("alice").save("colour", SECRET)
    assert dump(target).count(SECRET) >= 3


async def test_what_was_guarded_was_redacted_before_it_was_encrypted(target: Lakebase, encryption: Encryption) -> None:
    async with AsyncMemory(target, encryption=encryption, guard=Guard(redactor=PatternRedactor())) as memory:
        await memory.for_user("alice").save("mail", "write to bob@example.com")
        found = await memory.for_user("alice").get("mail")
    assert found is not None
    assert "bob@example.com" not in found.value


async def test_a_search_finds_by_meaning_and_not_by_words(target: Lakebase, encryption: Encryption) -> None:
    async with AsyncMemory(target, embedder=TopicEmbedder(), encryption=encryption) as memory:
        user = memory.for_user("alice")
        await user.save("pet", "a dog")
        [hit] = await user.search("puppy", explain=True)
        assert (hit.record.value, hit.record.text) == ("a dog", "pet: a dog")
        assert not hit.lexical
        assert not (await user.search("dog"))[0].lexical
        assert "a dog" in (await user.context("puppy")).text
        with pytest.raises(EncryptionError, match="words of encrypted items"):
            await user.search_threads("dog")


async def test_a_repetition_is_found(memory: AsyncMemory) -> None:
    user = memory.for_user("alice")
    first = await user.save("colour", "blue")
    assert (await user.save("colour", "blue")).outcome == "unchanged"
    assert (await user.save("colour", "red")).version == first.version + 1
    made = await user.save(None, "likes tea")
    assert (await user.save(None, "likes tea")).key == made.key
    assert await user.get(made.key) is not None
    [turn] = await user.remember([{"role": "user", "content": "hello"}], thread_id="t")
    assert await user.remember([{"role": "user", "content": "hello"}], thread_id="t") == []
    assert await user.get(turn.key) is not None


def test_the_key_of_a_made_up_name_tells_nothing(target: Lakebase, encryption: Encryption) -> None:
    async def keys(given: Encryption | None, user: str) -> str:
        async with AsyncMemory(target, encryption=given) as memory:
            return (await memory.for_user(user).save(None, "likes tea")).key

    plain, of_alice, of_bob = (asyncio.run(keys(*each)) for each in ((None, "a"), (encryption, "a"), (encryption, "b")))
    assert len({plain, of_alice, of_bob}) == 3


@pytest.mark.parametrize("change", ["flipped", "cut", "to another thread", "to another user", "another role"])
async def test_an_item_that_was_changed_or_moved_does_not_open(
    memory: AsyncMemory, target: Lakebase, change: str
) -> None:
    alice, bob = memory.for_user("alice"), memory.for_user("bob")
    await alice.thread("t").append([{"role": "user", "content": SECRET}])
    await alice.thread("other").append([{"role": "user", "content": "x"}])
    await bob.thread("t").append([{"role": "user", "content": "y"}])
    [(stored,)] = execute(
        target, "SELECT item::text FROM lakemem.thread_items WHERE owner = 'user:alice' AND thread_id = 't'"
    )
    item = json.loads(stored)
    body = item["lakemem.sealed"]
    reader = alice.thread("t")
    if change == "flipped":
        item["lakemem.sealed"] = body[:-9] + ("A" if body[-9] != "A" else "B") + body[-8:]
    elif change == "cut":
        item["lakemem.sealed"] = body[:-8]
    elif change == "another role":
        item["role"] = "system"
    else:
        reader = alice.thread("other") if change == "to another thread" else bob.thread("t")
    execute(
        target,
        "UPDATE lakemem.thread_items SET item = %s WHERE owner = %s AND thread_id = %s",
        json.dumps(item),
        reader._owner,
        reader.thread_id,
    )
    with pytest.raises(EncryptionError) as raised:
        await reader.items()
    assert SECRET not in str(raised.value)


async def test_values_and_texts_do_not_change_places(memory: AsyncMemory, target: Lakebase) -> None:
    user = memory.for_user("alice")
    await user.save("a", "one")
    await user.save("b", "two")
    for column in ("value", "text"):
        before = execute(target, f"SELECT key, {column}::text FROM lakemem.memories ORDER BY key")
        execute(
            target,
            f"UPDATE lakemem.memories AS m SET {column} = o.{column} FROM lakemem.memories AS o WHERE m.key <> o.key",
        )
        with pytest.raises(EncryptionError):
            await user.get("a")
        for key, stored in before:
            execute(target, f"UPDATE lakemem.memories SET {column} = %s WHERE key = %s", stored, key)
        found = await user.get("a")
        assert found is not None
        assert found.value == "one"


async def test_plain_rows_are_read_unless_that_is_refused(target: Lakebase, encryption: Encryption) -> None:
    async with AsyncMemory(target) as plain:
        await plain.for_user("alice").thread("t").append([{"content": "old"}])
        await plain.for_user("alice").save("k", "old")
    async with AsyncMemory(target, encryption=encryption) as memory:
        assert await memory.for_user("alice").thread("t").items() == [{"content": "old"}]
        assert (await memory.for_user("alice").items())[0].value == "old"
    strict = Encryption(MasterKeys(MASTER), reads_plain=False)
    async with AsyncMemory(target, encryption=strict) as memory:
        with pytest.raises(EncryptionError, match="keys encrypt"):
            await memory.for_user("alice").thread("t").items()
        done = await memory.keys.encrypt()
        assert (done.owners, done.rows, done.unreadable) == (1, 2, 0)
        assert (await memory.keys.encrypt()).rows == 0
        assert await memory.for_user("alice").thread("t").items() == [{"content": "old"}]
        assert (await memory.for_user("alice").items())[0].value == "old"
    assert "old" not in dump(target)


async def test_everything_is_encrypted_that_was_there(target: Lakebase, encryption: Encryption) -> None:
    async with AsyncMemory(target) as plain:
        await fill(plain, plain.for_user("alice"), SECRET)
    assert SECRET in without_metadata(dump(target, besides=IN_CLEAR))
    async with AsyncMemory(target, encryption=encryption) as memory:
        await memory.keys.encrypt()
        assert SECRET not in without_metadata(dump(target, besides=IN_CLEAR))
        user = memory.for_user("alice")
        assert [each["content"] for each in await user.thread("fork").items()] == [SECRET]
        stored = await user.checkpoints.get("t", "")
        assert stored is not None
        assert stored.checkpoint.data == f'"{SECRET}"'.encode()
        assert stored.checkpoint.type == "json"


async def test_a_fork_and_a_copy_are_sealed_for_their_own_threads(memory: AsyncMemory, target: Lakebase) -> None:
    user = memory.for_user("alice")
    await fill(memory, user, SECRET)
    before = await user.checkpoints.list(thread_id="t")
    assert await user.checkpoints.copy_thread("t", "copy")
    copied = await user.checkpoints.list(thread_id="copy")
    assert [replace(each, thread_id="t") for each in copied] == list(before)
    assert await user.thread("fork").items() == [{"content": SECRET}]
    await user.thread("t").delete()
    assert await user.thread("fork").items() == [{"content": SECRET}]
    assert len(await user.checkpoints.list(thread_id="copy")) == len(before)


async def test_the_first_writers_of_a_user_agree_on_one_key(target: Lakebase) -> None:
    memories = [AsyncMemory(target, encryption=Encryption(MasterKeys(MASTER))) for _ in range(4)]
    for memory in memories:
        await memory.open()
    try:
        await asyncio.gather(
            *(memory.for_user("alice").thread(f"{n}").append([{"n": n}]) for n, memory in enumerate(memories))
        )
        for memory in memories:
            assert [await memory.for_user("alice").thread(f"{n}").items() for n in range(4)] == [
                [{"n": n}] for n in range(4)
            ]
    finally:
        for memory in memories:
            await memory.close()
    assert execute(target, "SELECT count(*) FROM lakemem.data_keys") == [(1,)]


async def test_a_rotation_while_others_write_loses_nothing(target: Lakebase) -> None:
    async with (
        AsyncMemory(target, encryption=Encryption(MasterKeys(MASTER))) as writer,
        AsyncMemory(target, encryption=Encryption(MasterKeys(MASTER))) as other,
    ):
        as_in_another_process(writer)
        user = writer.for_user("alice")
        written: list[int] = []
        stop = asyncio.Event()

        async def write() -> None:
            while not stop.is_set():
                await user.thread("t").append([{"n": len(written)}])
                await user.save("n", len(written))
                written.append(len(written))

        writing = asyncio.create_task(write())
        for _ in range(3):
            await other.for_user("alice").rotate_key()
        stop.set()
        await writing
        await other.for_user("alice").rotate_key()
        assert [each["n"] for each in await other.for_user("alice").thread("t").items()] == written
        assert len(await other.for_user("alice").history("n")) == len(written) > 0
    assert execute(target, "SELECT count(*) FROM lakemem.data_keys") == [(1,)]


async def test_an_encryption_that_was_cut_off_goes_on(
    target: Lakebase, encryption: Encryption, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "AT_ONCE", 3)
    async with AsyncMemory(target) as plain:
        await plain.for_user("alice").thread("t").append([{"content": f"{SECRET} {n}"} for n in range(10)])
    sent: list[str] = []

    async with AsyncMemory(target, encryption=encryption) as memory:
        inner = memory._storage._storage  # type: ignore[attr-defined]
        run = inner.run

        async def cut_off(operation: Any, *, write_id: uuid.UUID | None = None) -> Any:
            if operation.statement == "resealing.replace_items":
                sent.append(operation.statement)
                if len(sent) == 3:
                    raise KeyboardInterrupt
            return await run(operation, write_id=write_id)

        inner.run = cut_off
        with pytest.raises(KeyboardInterrupt):
            await memory.keys.encrypt()
        inner.run = run
        assert [each["content"] for each in await memory.for_user("alice").thread("t").items()] == [
            f"{SECRET} {n}" for n in range(10)
        ]
        assert dump(target).count(SECRET) == 4
        assert (await memory.keys.encrypt()).rows == 4
    assert SECRET not in dump(target)


async def test_a_master_key_is_replaced(target: Lakebase) -> None:
    old, new = os.urandom(32), os.urandom(32)
    async with AsyncMemory(target, encryption=Encryption(MasterKeys({"old": old}))) as memory:
        await memory.for_user("alice").save("k", "v")
    async with AsyncMemory(target, encryption=Encryption(MasterKeys({"old": old, "new": new}))) as memory:
        found = await memory.for_user("alice").get("k")
        assert found is not None
        assert await memory.keys.counts() == {"old": (1, 0)}
        assert await memory.keys.rewrap() == 1
        assert await memory.keys.rewrap() == 0
        assert await memory.keys.counts() == {"new": (1, 0)}
    async with AsyncMemory(target, encryption=Encryption(MasterKeys({"new": new}))) as memory:
        found = await memory.for_user("alice").get("k")
        assert found is not None
        assert found.value == "v"
    wrong = {"no such master key": {"other": new}, "another key": {"new": os.urandom(32)}}
    for keys in wrong.values():
        async with AsyncMemory(target, encryption=Encryption(MasterKeys(keys))) as memory:
            with pytest.raises(EncryptionError, match="master key 'new'"):
                await memory.for_user("alice").get("k")


async def test_dropped_keys_stop_working_and_a_later_write_has_a_new_one(target: Lakebase) -> None:
    async with (
        AsyncMemory(target, encryption=Encryption(MasterKeys(MASTER))) as one,
        AsyncMemory(target, encryption=Encryption(MasterKeys(MASTER), keep_keys=0.2)) as other,
    ):
        as_in_another_process(other)
        for memory in (one, other):
            await memory.for_user("alice").save("k", "v")
            await memory.for_user("bob").save("k", "bob's")
        receipt = await one.for_user("alice").drop_keys(requested_by="alice", reason="case 7")
        assert (receipt.owner, receipt.counts) == ("user:alice", {"data_keys": 1})
        with pytest.raises(EncryptionError, match="dropped"):
            await one.for_user("alice").get("k")
        await asyncio.sleep(0.3)
        with pytest.raises(EncryptionError, match="dropped"):
            await other.for_user("alice").get("k")
        # One who still has the key writes nothing that nobody could read.
        await other.for_user("alice").save("new", "w")
        for memory in (one, other):
            found = await memory.for_user("alice").get("new")
            assert found is not None
            assert found.value == "w"
            assert (await memory.for_user("bob").items())[0].value == "bob's"
        assert (await one.keys.encrypt()).unreadable == 1
    assert execute(target, "SELECT details, reason FROM lakemem.memory_events WHERE action = 'drop_keys'") == [
        ({"data_keys": 1}, "case 7")
    ]


async def test_a_write_with_a_key_that_was_dropped_meanwhile_gets_the_new_one(target: Lakebase) -> None:
    async with (
        AsyncMemory(target, encryption=Encryption(MasterKeys(MASTER))) as one,
        AsyncMemory(target, encryption=Encryption(MasterKeys(MASTER))) as other,
    ):
        as_in_another_process(other)
        await other.for_user("alice").save("k", "v")
        await one.for_user("alice").drop_keys()
        await other.for_user("alice").save("k", "w")
        found = await one.for_user("alice").get("k")
        assert found is not None
        assert found.value == "w"


async def test_an_erasure_takes_the_keys_along_and_a_hold_keeps_them(memory: AsyncMemory, target: Lakebase) -> None:
    user = memory.for_user("alice")
    await user.save("k", "v")
    await user.hold("case 1", placed_by="legal", reason="case 1")
    with pytest.raises(OnHoldError):
        await user.drop_keys()
    assert (await user.get("k")) is not None
    await user.release("case 1", released_by="legal")
    receipt = await user.erase()
    assert receipt.counts["data_keys"] == 1
    assert execute(target, "SELECT count(*) FROM lakemem.data_keys") == [(0,)]
    await user.save("k", "w")
    assert (await user.items())[0].value == "w"


async def test_an_archive_is_plain_and_comes_back_encrypted(
    memory: AsyncMemory, target: Lakebase, encryption: Encryption
) -> None:
    await fill(memory, memory.for_user("alice"), SECRET)
    lines = [record async for record in memory.for_user("alice").export()]
    assert json.dumps(lines).count(SECRET) > 10
    imported = await memory.for_user("carol").import_archive(lines)
    assert imported.memories > 0
    again = await memory.for_user("carol").import_archive(lines)
    assert (again.threads, again.items, again.memories, again.checkpoints) == (0, 0, 0, 0)
    back = [record async for record in memory.for_user("carol").export()]
    assert [each for each in back if each["kind"] == "item"] == [each for each in lines if each["kind"] == "item"]
    assert SECRET not in without_metadata(dump(target, besides=IN_CLEAR))


async def test_the_keys_of_a_memory_without_encryption_are_nothing_to_work_on(target: Lakebase) -> None:
    with pytest.raises(ConfigurationError, match="no encryption"):
        _ = AsyncMemory(target).keys


async def test_the_round_trips_of_a_call_are_what_they_were(memory: AsyncMemory) -> None:
    """The first write of a new user takes three more, the first call of a process one more, all else none."""
    asked: list[str] = []
    database = memory._storage._storage  # type: ignore[attr-defined]
    answers = database._answers

    async def counted(operation: Any, write_id: Any) -> Any:
        asked.append(operation.statement)
        return await answers(operation, write_id)

    database._answers = counted
    user = memory.for_user("alice")
    await user.thread("t").append([{"n": 1}])
    assert asked == ["keys.of_owner", "keys.make", "keys.of_owner", "threads.append"]
    asked.clear()
    await user.thread("t").append([{"n": 2}])
    await user.thread("t").items()
    await user.save("k", "v")
    await user.get("k")
    assert asked == ["threads.append", "threads.items", "memories.save", "memories.get"]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    plain=st.binary(max_size=300),
    place=st.lists(st.text(max_size=10) | st.integers(0, 9), min_size=1, max_size=4),
    other=st.lists(st.text(max_size=10) | st.integers(0, 9), min_size=1, max_size=4),
    repeatable=st.booleans(),
    cut=st.integers(0, 100),
    flip=st.integers(0, 10_000),
)
def test_what_is_sealed_opens_where_it_belongs_and_nowhere_else(
    plain: bytes, place: list[Any], other: list[Any], repeatable: bool, cut: int, flip: int
) -> None:
    key = DataKey.new()
    opener = Opener({o: OwnerKeys(o, {key.id: key}, key) for o in ("a", "b")}, reads_plain=True)
    sealed = Cipher("a", key).seal(plain, place, repeatable=repeatable)
    assert opener.open(sealed, "a", place) == plain
    assert (Cipher("a", key).seal(plain, place, repeatable=repeatable) == sealed) is repeatable
    broken = [(sealed, "b", place), (sealed[: len(sealed) - 1 - cut % len(sealed)], "a", place)]
    if other != place:
        broken.append((sealed, "a", other))
    flipped = bytearray(sealed)
    at = flip % len(sealed)
    if not 1 <= at < 17:  # Another key's id is another error.
        flipped[at] ^= 1
        broken.append((bytes(flipped), "a", place))
    for bad in broken:
        with pytest.raises(EncryptionError):
            opener.open(*bad)


def test_keys_are_nowhere_to_be_seen(encryption: Encryption) -> None:
    key = DataKey.new()
    shown = repr((encryption, encryption.keys, key, OwnerKeys("a", {key.id: key}, key)))
    for secret in (key.key, key.hash_key, MASTER["2026-11"]):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"a": "short"}', '{"a": 7}', '{"a": "%%%"}'])
def test_what_is_no_master_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        MasterKeys.from_text(text)
    assert "nonsense" not in str(raised.value)


CLEAR_OF_TEXTS = {
    "archive.make_room", "checkpoints.delete_thread", "consolidating.", "files.", "forgetting.", "importing.",
    "indexing.", "indexed.rows", "indexed.rows_near",
    "jobs.embed", "memories.delete", "memories.erase", "memories.forget", "memories.forget_for_good", "pruning.prune",
    "pruning.hold_runs", "pruning.delete_for_runs", "quarantine.leave", "quarantine.reject", "quarantine.sweep",
    "quarantine.owners_of_expired", "recall.", "reembedding.", "resealing.", "store.", "sweeping.", "threads.clear",
    "threads.rewind", "threads.delete", "threads.remove_expired", "turns.store_usage", "turns.usage", "keys.",
}  # fmt: skip
"""Statements that neither store nor return a text, or are looked at above."""


def test_no_statement_with_texts_is_forgotten() -> None:
    tables = "thread_items", "checkpoints", "checkpoint_blobs", "checkpoint_segments", "checkpoint_writes", "memories"
    statements = bind_statements("lakemem")
    assert RULES.keys() <= statements.keys()
    touching = {
        name
        for name, text in statements.items()
        if any(f'"lakemem".{table}'.encode() in text for table in (*tables, "quarantine"))
    }
    unknown = {
        name
        for name in touching - RULES.keys()
        if not any(name == each or (each.endswith(".") and name.startswith(each)) for each in CLEAR_OF_TEXTS)
    }
    assert unknown == set()


def test_the_commands(target: Lakebase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "2026-11"]) == 0
    monkeypatch.setenv("LAKEMEM_MASTER_KEYS", capsys.readouterr().out)
    for name in ("PGHOST", "PGUSER", "PGDATABASE"):
        monkeypatch.setenv(
            name, str(target.parameters[{"PGHOST": "host", "PGUSER": "user", "PGDATABASE": "dbname"}[name]])
        )

    async def fill_plain() -> None:
        async with AsyncMemory(target, encryption=Encryption(MasterKeys(MASTER))) as memory:
            await memory.for_user("bob").drop_keys()
        monkeypatch.delenv("LAKEMEM_MASTER_KEYS")
        async with AsyncMemory(target) as memory:
            await memory.for_user("alice").thread("t").append([{"content": SECRET}])

    keys = os.environ["LAKEMEM_MASTER_KEYS"]
    asyncio.run(fill_plain())
    assert main(["keys", "list"]) == 1
    assert "no encryption" in capsys.readouterr().err
    monkeypatch.setenv("LAKEMEM_MASTER_KEYS", keys)
    for arguments, said in (
        (["encrypt"], "1 rows of 1 owners were encrypted"),
        (["list"], "2026-11: 1 data keys, 0 of them retired"),
        (["rotate"], "1 owners have a new key, which encrypts 1 rows"),
        (["rewrap"], "0 data keys were wrapped under 2026-11"),
        (["drop", "--user", "alice", "--reason", "case 7"], '"counts": {"data_keys": 1}'),
    ):
        assert main(["keys", *arguments]) == 0
        assert said in capsys.readouterr().out
    assert SECRET not in dump(target)
