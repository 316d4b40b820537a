"""A checkpoint is stored whole or not at all, whatever becomes of what it builds on, of its process, or of the way."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import AsyncMemory, Lakebase, Memory, StorageUnavailableError, degrading
from lakemem.integrations.langgraph import AsyncLakebaseSaver
from lakemem.operations.checkpoints import Address, Blob, Composition, Reused, ReusedVersionGone
from tests.conftest import connect
from tests.faults import AsyncPoll, Fault, Proxy
from tests.langgraph.conftest import Saver, saver_of
from tests.langgraph.history import History, assert_same, message, renewed, space
from tests.langgraph.running import config
from tests.support.locks import wait_until_alone, wait_until_blocked
from tests.support.rows import Rows

OWNER = "user:alice"


@pytest.fixture
def rows(target: Lakebase) -> Rows:
    return Rows(target, OWNER)


@pytest.fixture(params=["async", "sync"])
async def memory(request: pytest.FixtureRequest, target: Lakebase) -> AsyncIterator[AsyncMemory | Memory]:
    """A memory of each world, with the few connections that one thread needs."""
    if request.param == "async":
        async with AsyncMemory(target, min_size=1) as memory:
            yield memory
    else:
        with Memory(target, min_size=1) as sync_memory:
            yield sync_memory


LOG = [message(number) for number in range(5)]


def nothing_is_left_over(rows: Rows) -> bool:
    """Every segment belongs to a version, every version to a checkpoint, and each is there whole."""
    [(unused, missing, unnamed)] = rows(
        """
        WITH positions AS (
            SELECT b.thread_id, b.checkpoint_ns, b.channel, position
            FROM lakemem.checkpoint_blobs AS b, generate_series(1, cardinality(b.spans), 2) AS place,
                generate_series(b.spans[place], b.spans[place + 1]) AS position
        ), stored AS (
            SELECT s.thread_id, s.checkpoint_ns, s.channel, place
            FROM lakemem.checkpoint_segments AS s, generate_series(s.position, s.position + s.length - 1) AS place
        ), versions AS (
            SELECT c.thread_id, c.checkpoint_ns, v.key AS channel, v.value AS version
            FROM lakemem.checkpoints AS c, jsonb_each_text(c.channel_versions) AS v WHERE v.value IS NOT NULL
        )
        SELECT
            (SELECT count(*) FROM (TABLE stored EXCEPT TABLE positions) AS unused),
            (SELECT count(*) FROM (TABLE positions EXCEPT TABLE stored) AS missing),
            (SELECT count(*) FROM ((SELECT thread_id, checkpoint_ns, channel, version FROM lakemem.checkpoint_blobs
                EXCEPT TABLE versions) UNION ALL (TABLE versions EXCEPT
                SELECT thread_id, checkpoint_ns, channel, version FROM lakemem.checkpoint_blobs)) AS unnamed)
        """
    )
    return (unused, missing, unnamed) == (0, 0, 0)


# What a checkpoint builds on is gone.


async def deleted_by_another(saver: Saver, rows: Rows) -> None:
    await renewed(saver).adelete_thread("1")


async def deleted_with_its_thread(saver: Saver, rows: Rows) -> None:
    rows("DELETE FROM lakemem.threads")
    rows("SELECT lakemem.remove_checkpoints(%s, '1')", OWNER)


async def stored_anew_under_the_same_version(saver: Saver, rows: Rows) -> None:
    """The positions are those of other elements now."""
    versions = rows("SELECT version, channel FROM lakemem.checkpoint_blobs WHERE kind IS NOT NULL")
    await renewed(saver).adelete_thread("1")
    other = History(renewed(saver))
    parts = [f"other {number}" + "x" * 400 for number in range(7)]
    await other.put({"log": parts, "text": parts})
    for version in versions:
        rows("UPDATE lakemem.checkpoint_blobs SET version = %s WHERE channel = %s", *version)


GONE: list[Callable[[Saver, Rows], Awaitable[None]]] = [
    deleted_by_another,
    deleted_with_its_thread,
    stored_anew_under_the_same_version,
]


@pytest.mark.parametrize("gone", GONE, ids=lambda gone: gone.__name__)
async def test_a_checkpoint_that_builds_on_what_is_gone_is_stored_whole(
    saver: Saver, rows: Rows, gone: Callable[[Saver, Rows], Awaitable[None]]
) -> None:
    history = History(saver)
    await history.put({"log": LOG, "text": ["unchanged" * 200], "small": [1]})
    await gone(saver, rows)
    before = space(rows)
    history.checkpoints[0].values.clear()
    latest = await history.put({"log": [*LOG, message(5)], "text": ["unchanged" * 200], "small": [2]})
    assert space(rows).since(before).elements == 7
    found = await saver.aget_tuple(latest.place)
    assert found is not None
    assert_same(found.checkpoint["channel_values"], latest.values)
    # And from there on by what is new.
    before = space(rows)
    latest = await history.put({"log": [*LOG, message(5), message(6)]})
    assert space(rows).since(before).elements == 1
    history.checkpoints = [latest]
    found = await renewed(saver).aget_tuple(latest.place)
    assert found is not None
    assert_same(found.checkpoint["channel_values"], latest.values)


async def test_a_put_with_wrong_spans_writes_nothing(target: Lakebase, rows: Rows) -> None:
    async with AsyncMemory(target, min_size=1) as memory:
        checkpoints = memory.for_user("alice").checkpoints

        def put(number: str, spans: Any, reused: Reused | None, count: int) -> Awaitable[Any]:
            added = Blob("json", b"[]") if count else None
            return checkpoints.put(
                Address("1", "", number),
                parent_checkpoint_id=None,
                checkpoint=Blob("json", b"{}"),
                metadata="{}",
                channel_versions=json.dumps({"log": number}),
                blobs={"other": (number, Blob("json", b"1"))},
                compositions={"log": (number, Composition("list", spans, added, count, reused))},
            )

        assert await put("1", ((-1, -3),), None, 3) == {"log": 0}
        assert await put("2", ((1, 2), (-1, -1)), Reused("1", ((1, 3),)), 1) == {"log": 3}
        stored = rows("SELECT checkpoint_ns, channel, version, spans FROM lakemem.checkpoint_blobs WHERE kind = 'list'")
        assert stored == [("", "log", "1", [1, 3]), ("", "log", "2", [1, 2, 4, 4])]
        tables = ("checkpoints", "checkpoint_blobs", "checkpoint_segments", "checkpoint_positions")
        before = [rows(f"SELECT * FROM lakemem.{table} ORDER BY 1, 2, 3, 4, 5") for table in tables]
        for reused in (Reused("1", ((1, 2),)), Reused("2", ((1, 3),)), Reused("3", ((1, 3),)), Reused("1", ((1, 4),))):
            with pytest.raises(ReusedVersionGone, match="store all its values again"):
                await put("3", ((1, 2), (-1, -1)), reused, 1)
        assert [rows(f"SELECT * FROM lakemem.{table} ORDER BY 1, 2, 3, 4, 5") for table in tables] == before


async def test_an_expired_thread_is_empty_at_once_and_begins_anew(memory: AsyncMemory | Memory, rows: Rows) -> None:
    saver, history = saver_of(memory, "alice"), History(saver_of(memory, "alice"))
    thread: Any = memory.for_user("alice").thread("1")
    for values in ({"log": LOG}, {"log": [*LOG, message(5)]}):
        await history.put(values)
    if isinstance(memory, AsyncMemory):
        await thread.update(expires_in=1e-6)
    else:
        thread.update(expires_in=1e-6)
    old = history.checkpoints
    assert await saver.aget_tuple(config("1")) is None
    assert await saver.aget_tuple(old[0].place) is None
    assert [found async for found in saver.alist(config("1"))] == []
    assert [found async for found in saver.alist(None)] == []
    # The saver still knows what it stored there.
    latest = await history.put({"log": [*LOG, message(5), message(6)]})
    history.checkpoints = [latest]
    await history.check()
    assert space(rows).elements == 7
    assert await saver.aget_tuple(old[0].place) is None
    assert nothing_is_left_over(rows)


async def test_a_checkpoint_that_is_stored_while_its_thread_is_deleted_is_whole_or_gone(
    target: Lakebase, rows: Rows
) -> None:
    async with AsyncMemory(target, min_size=3) as memory:
        saver = AsyncLakebaseSaver(memory.for_user("alice"))
        history = History(saver)
        first = await history.put({"log": LOG})
        with rows.connect() as blocker, connect(target) as observer:
            blocker.execute("BEGIN")
            # The deletion has begun when it waits for this row.
            blocker.execute("SELECT FROM lakemem.checkpoints FOR UPDATE")
            deleting = asyncio.create_task(renewed(saver).adelete_thread("1"))
            await asyncio.to_thread(wait_until_blocked, observer)
            putting = asyncio.create_task(history.put({"log": [*LOG, "new"]}, saver=renewed(saver)))
            done, _ = await asyncio.wait([putting], timeout=0.3)
            blocker.execute("ROLLBACK")
            await asyncio.gather(deleting, putting)
        assert not done, "it overtook the deletion"
        assert await saver.aget_tuple(first.place) is None
        history.checkpoints.pop(0)
        await history.check()
        assert nothing_is_left_over(rows)


async def test_two_processes_go_on_with_one_thread_at_once(target: Lakebase, rows: Rows) -> None:
    async with AsyncMemory(target, min_size=2) as memory, AsyncMemory(target, min_size=2) as other_memory:
        savers = [AsyncLakebaseSaver(each.for_user("alice")) for each in (memory, other_memory)]
        histories = [History(saver) for saver in savers]
        first = await histories[0].put({"log": LOG})

        async def go_on(history: History, name: str) -> None:
            tip = await history.load(history.saver, first)
            for number in range(12):
                tip = await history.put({"log": [*tip.values["log"], f"{name} {number}"]}, after=tip)

        await asyncio.gather(*map(go_on, histories, ("a", "b")))
        everything = History(savers[0], checkpoints=[each for history in histories for each in history.checkpoints])
        await everything.check()
    assert space(rows).elements == 5 + 2 * 12
    assert rows("SELECT last_position FROM lakemem.checkpoint_positions") == [(29,)]
    assert nothing_is_left_over(rows)


# The database is away.


async def test_what_was_put_while_the_database_was_away_is_stored_when_it_is_back(target: Lakebase, rows: Rows) -> None:
    with Proxy(target) as proxy:
        inner = AsyncMemory(proxy.target, min_size=1, max_size=2)
        async with degrading(inner, deadline=1.0, cooldown=0.05) as memory:
            saver = AsyncLakebaseSaver(memory.for_user("alice"))
            history, other = History(saver), History(saver, "other")
            await history.put({"log": LOG})
            await other.put({"log": LOG})
            proxy.refuse()
            await history.put({"log": [*LOG, message(5)]})
            # What waits is not known to be stored: this one builds on the first again.
            await history.put({"log": [*LOG, message(5), message(6)]})
            # And what goes behind a deletion that waits does not build on what that deletes.
            await saver.adelete_thread("other")
            await other.put({"log": [*LOG, message(7)]})
            assert (await memory.health()).pending_writes == 4
            proxy.restore()

            async def well() -> bool:
                return (await memory.health()).status == "ok"

            await AsyncPoll.until(well)
            assert (await memory.health()).failed_writes == 0
            other.checkpoints.pop(0)
            for each in (history, other):
                await each.check()
            assert space(rows, thread_id="1").elements == 5 + 1 + 2
            assert space(rows, thread_id="other").elements == 6
            await history.put({"log": [*LOG, message(5), message(6), message(8)]})
            await history.check()


async def test_a_put_that_is_cut_off_at_any_byte_leaves_nothing(target: Lakebase, rows: Rows) -> None:
    faults: list[Callable[[int], Fault]] = []

    def fault(request: bytes) -> Fault:
        # What is longer than a login is a put.
        return faults.pop()(len(request)) if faults and len(request) > 1_000 else "none"

    parts = (0.02, 0.3, 0.6, 0.9)
    cuts: list[Callable[[int], Fault]] = [lambda size, part=part: int(size * part) for part in parts]  # type: ignore[misc]
    # The last message, without which nothing is committed, has five bytes.
    cuts += [lambda size: size - 6, lambda size: size - 5, lambda size: size - 1]
    with Proxy(target) as proxy:
        proxy.fault = fault
        async with AsyncMemory(target, min_size=1) as direct, AsyncMemory(proxy.target, min_size=1) as memory:
            reader = AsyncLakebaseSaver(direct.for_user("alice"))
            history = History(AsyncLakebaseSaver(memory.for_user("alice")))
            await history.put({"log": LOG, "whole": [1]})
            await history.put({"log": [*LOG, message(5)], "whole": [2]})
            for cut in cuts:
                faults.append(cut)
                with pytest.raises(StorageUnavailableError):
                    await history.put({"log": [*LOG, message(5), message(6)], "whole": [3]})
                assert not faults
            assert space(rows).elements == 6
            await history.check(reader)
            # Where the answer alone is lost, it is stored, and the saver does not know.
            faults.append(lambda size: "after")
            with pytest.raises(StorageUnavailableError):
                await history.put({"log": [*LOG, message(5), message(6)], "whole": [3]})
            assert space(rows).elements == 7
            await history.put({"log": [*LOG, message(5), message(6), message(7)], "whole": [4]})
            assert space(rows).elements == 9
            newest = await reader.aget_tuple(config("1"))
            assert newest is not None
            assert_same(newest.checkpoint["channel_values"], history.checkpoints[-1].values)
            assert len([found async for found in reader.alist(config("1"))]) == 4
            assert nothing_is_left_over(rows)


PROCESS = """
import asyncio, os, sys
from lakemem import AsyncMemory, Lakebase
from lakemem.integrations.langgraph import AsyncLakebaseSaver
from tests.langgraph.history import History, message

async def main():
    async with AsyncMemory(Lakebase.dsn(sys.argv[1]), min_size=1) as memory:
        history = History(AsyncLakebaseSaver(memory.for_user("alice")), sys.argv[2])
        log = []
        for number in range(100_000):
            log = [*log[-40:], message(number)]
            stored = await history.put({"log": log, "number": [number]})
            writes = [("log", n) for n in range(5)]
            await history.saver.aput_writes(stored.place, writes, "task")
            print(number, flush=True)

asyncio.run(main())
"""


async def test_a_process_that_is_killed_leaves_no_half_checkpoint(target: Lakebase, rows: Rows) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, make_conninfo(**target.parameters), thread_id],
            stdout=subprocess.PIPE,
            text=True,
        )
        for thread_id in ("1", "2")
    ]
    said = {}
    for process, thread_id, lines in zip(processes, ("1", "2"), (7, 60), strict=True):
        assert process.stdout is not None
        try:
            said[thread_id] = [int(process.stdout.readline()) for _ in range(lines)][-1]
        finally:
            process.kill()
            process.communicate()
    with connect(target) as connection:
        wait_until_alone(connection)
    assert nothing_is_left_over(rows)
    async with AsyncMemory(target, min_size=1) as memory:
        saver = AsyncLakebaseSaver(memory.for_user("alice"))
        for thread_id, number in said.items():
            found = [each async for each in saver.alist(config(thread_id))][::-1]
            # What it said was stored is, and at the most what it did then.
            assert number + 1 <= len(found)
            for place, each in enumerate(found):
                log = [message(n) for n in range(max(0, place - 40), place + 1)]
                assert each.checkpoint["channel_values"] == {"log": log, "number": [place]}
                complete = [("task", "log", n) for n in range(5)]
                assert each.pending_writes == complete or (place == len(found) - 1 and each.pending_writes == [])
            history = History(saver, thread_id)
            tip = await history.load(saver)
            await history.put({"log": [*tip.values["log"], "and on"]}, after=tip)
            newest = await renewed(saver).aget_tuple(config(thread_id))
            assert newest is not None
            assert_same(newest.checkpoint["channel_values"], history.checkpoints[-1].values)
