# Generated from tests/_async/test_degrading.py by tools/unasync.py: edit that file, then run `make generate`.
"""An agent whose memory fails it, on a real Postgres behind a proxy that breaks where it is told."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from lakemem import (
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    Lakebase,
    Memory,
    MemoryNotFoundError,
    ScopedMemory,
    StorageUnavailableError,
    degrading,
)
from lakemem.testing.concurrency import gather
from lakemem.waiting import monotonic
from tests.conftest import connect
from tests.faults import Fault, Poll, Proxy

DEADLINE = 0.4
SLACK = 5.0
"""What a machine may add that is busy, or stands still for a while. Without a deadline it takes ten seconds or more."""


@pytest.fixture
def proxy(target: Lakebase) -> Iterator[Proxy]:
    with Proxy(target) as proxy:
        yield proxy


def robust(target: Lakebase, **bounds: Any) -> Memory:
    """A degrading memory with little patience."""
    bounds = {"deadline": DEADLINE, "open_deadline": 3.0, "cooldown": 0.05, **bounds}
    return degrading(Memory(target, max_size=4), **bounds)


def recovered(memory: Memory) -> None:
    """Return once memory is well again, and has stored what it kept."""

    def well() -> bool:
        return (memory.health()).status == "ok"

    Poll.until(well)


def reads(user: ScopedMemory) -> list[Callable[[], Any]]:
    thread = user.thread("t")
    return [
        lambda: user.get("k"),
        lambda: user.items(),
        lambda: user.search("what?"),
        lambda: user.threads(),
        lambda: user.threads(filter={"a": 1}),
        lambda: user.search_threads("what?"),
        lambda: thread.items(),
        lambda: thread.messages(3),
        lambda: thread.info(),
        lambda: user.checkpoints.get("t", ""),
        lambda: user.checkpoints.list(thread_id="t"),
    ]


def check_reads(memory: Memory) -> None:
    """Every read returns nothing, and in time."""
    for read in reads(memory.for_user("alice")):
        started = monotonic()
        assert not read()
        assert monotonic() - started < DEADLINE + SLACK


def write_a_turn(memory: Memory) -> None:
    user = memory.for_user("alice")
    for n in range(5):
        user.thread("t").append([{"n": n}, {"n": n, "reply": True}])
    user.save("city", "Rome")
    user.save("city", "Oslo")
    user.save("food", "soup")
    assert user.delete("food")


def check_the_turn_is_stored_once(target: Lakebase) -> None:
    with Memory(target) as memory:
        user = memory.for_user("alice")
        messages = user.thread("t").messages()
        assert [message.position for message in messages] == list(range(1, 11))
        assert [message.item["n"] for message in messages] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        [city] = user.items()
        assert (city.key, city.value, city.version) == ("city", "Oslo", 2)


def rename_database(admin_dsn: str, old: str, new: str) -> None:
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [old])
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        connection.execute(rename.format(sql.Identifier(old), sql.Identifier(new)))


def test_a_missing_database_costs_nothing_that_is_written(target: Lakebase, admin_dsn: str) -> None:
    name = str(target.database)
    rename_database(admin_dsn, name, f"{name}_gone")
    with robust(target) as memory:
        try:
            check_reads(memory)
            write_a_turn(memory)
            assert "does not exist" in (memory.health()).detail
        finally:
            rename_database(admin_dsn, f"{name}_gone", name)
        recovered(memory)
    check_the_turn_is_stored_once(target)


def test_missing_tables_cost_nothing_that_is_written(empty_target: Lakebase) -> None:
    with robust(empty_target) as memory:
        check_reads(memory)
        write_a_turn(memory)
        assert "lakemem migrate" in (memory.health()).detail
        Memory(empty_target).setup()
        recovered(memory)
    check_the_turn_is_stored_once(empty_target)


def test_tables_that_go_missing_cost_nothing_that_is_written(target: Lakebase) -> None:
    with robust(target) as memory:
        with connect(target) as connection:
            connection.execute("ALTER SCHEMA lakemem RENAME TO hidden")
            check_reads(memory)
            write_a_turn(memory)
            assert (memory.health()).status == "degraded"
            connection.execute("ALTER SCHEMA hidden RENAME TO lakemem")
        recovered(memory)
    check_the_turn_is_stored_once(target)


def slow_down(proxy: Proxy) -> None:
    proxy.delay = 1.5 * DEADLINE


OUTAGES = [Proxy.refuse, Proxy.black_hole, slow_down]


@pytest.mark.parametrize("break_down", [Proxy.refuse, Proxy.black_hole])
def test_a_server_out_of_reach_from_the_start_costs_nothing_that_is_written(
    target: Lakebase, proxy: Proxy, break_down: Callable[[Proxy], None]
) -> None:
    break_down(proxy)
    with robust(proxy.target, open_deadline=DEADLINE) as memory:
        check_reads(memory)
        write_a_turn(memory)
        proxy.restore()
        recovered(memory)
    check_the_turn_is_stored_once(target)


@pytest.mark.parametrize("break_down", OUTAGES)
def test_a_server_that_goes_out_of_reach_costs_nothing_that_is_written(
    target: Lakebase, proxy: Proxy, break_down: Callable[[Proxy], None]
) -> None:
    with robust(proxy.target) as memory:
        memory.for_user("bob").thread("t").append([{"n": 0}])
        break_down(proxy)
        check_reads(memory)
        write_a_turn(memory)
        assert (memory.health()).pending_writes == 9
        proxy.restore()
        recovered(memory)
        thread = memory.for_user("alice").thread("t")

        def is_found() -> bool:
            return len(thread.items()) == 10

        Poll.until(is_found)
    check_the_turn_is_stored_once(target)


def test_opening_is_over_at_its_deadline(proxy: Proxy) -> None:
    proxy.black_hole()
    started = monotonic()
    with robust(proxy.target, open_deadline=DEADLINE):
        assert monotonic() - started < DEADLINE + SLACK


def test_only_one_caller_waits_for_a_server_that_is_silent(proxy: Proxy) -> None:
    with robust(proxy.target, cooldown=60.0) as memory:
        user = memory.for_user("alice")
        proxy.black_hole()
        started = monotonic()
        for _ in range(40):
            assert user.get("k") is None
        # If each waited, it would be 16 s.
        assert monotonic() - started < DEADLINE + SLACK
        proxy.restore()


def hits(marker: bytes, *faults: Fault) -> Callable[[bytes], Fault]:
    """Faults that befall the first requests with this marker, one each, and no other."""
    coming = iter(faults)
    return lambda request: next(coming, "none") if marker in request else "none"


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_write_cut_off_from_its_answer_is_repeated_at_once_and_applied_once(
    target: Lakebase, proxy: Proxy, fault: Fault
) -> None:
    with robust(proxy.target) as memory:
        thread = memory.for_user("alice").thread("t")
        for text in ("first", "second", "third"):
            proxy.fault = hits(text.encode(), fault)
            thread.append([{"text": text}])
            assert (memory.health()).pending_writes == 0
    with Memory(target) as plain:
        items = plain.for_user("alice").thread("t").items()
    assert [item["text"] for item in items] == ["first", "second", "third"]


def test_a_write_whose_repetition_is_cut_off_too_waits_and_is_applied_once(target: Lakebase, proxy: Proxy) -> None:
    with robust(proxy.target) as memory:
        user = memory.for_user("alice")
        thread = user.thread("t")
        for place, text in enumerate(["first", "second", "third"]):
            proxy.fault = hits(text.encode(), "before", "before")
            thread.append([{"text": text}])
            assert (memory.health()).pending_writes == 1, "the fault did not hit"
            recovered(memory)
            assert [item["text"] for item in thread.items()][place:] == [text]
        proxy.fault = hits(b"Oslo", "before", "before")
        assert (user.save("city", "Oslo")).version == 0
        recovered(memory)
        proxy.fault = hits(b"checkpoint-1", "before", "before")
        user.checkpoints.delete_thread("checkpoint-1")
        assert thread.pop() is None, "it has to wait behind the write before it"
        recovered(memory)
    with Memory(target) as plain:
        user = plain.for_user("alice")
        assert [message.position for message in user.thread("t").messages()] == [1, 2]
        city = user.get("city")
        assert city is not None
        assert city.version == 1


def test_a_replay_cut_off_from_its_answer_is_applied_once(target: Lakebase, proxy: Proxy) -> None:
    proxy.refuse()
    with robust(proxy.target) as memory:
        thread = memory.for_user("alice").thread("t")
        for n in range(4):
            thread.append([{"text": f"item-{n}"}])
        proxy.fault = hits(b"item-2", "after", "before")
        proxy.restore()
        recovered(memory)
        assert [item["text"] for item in thread.items()] == ["item-0", "item-1", "item-2", "item-3"]


@pytest.mark.parametrize("seed", range(3))
def test_no_write_is_lost_or_doubled_whenever_the_connection_breaks(target: Lakebase, proxy: Proxy, seed: int) -> None:
    chance = random.Random(seed)
    proxy.fault = lambda request: (
        chance.choice(["none", "none", "before", "after"]) if re.search(rb"writer-\d", request) else "none"
    )

    def write(writer: int) -> None:
        for n in range(15):
            memory.for_user(f"u{writer}").thread("t").append([{"by": f"writer-{writer}", "n": n}])

    with robust(proxy.target, cooldown=0.01) as memory:
        gather([lambda writer=writer: write(writer) for writer in range(3)])
        proxy.fault = lambda request: "none"
        recovered(memory)
    with Memory(target) as plain:
        for writer in range(3):
            messages = plain.for_user(f"u{writer}").thread("t").messages()
            assert [(message.position, message.item["n"]) for message in messages] == [(n + 1, n) for n in range(15)]


def test_health_and_the_flag_for_the_client_say_how_things_stand(proxy: Proxy) -> None:
    with robust(proxy.target, cooldown=0.05) as memory:
        health = memory.health()
        assert (health.status, health.custom_outputs, health.pending_writes) == ("ok", {}, 0)
        proxy.refuse()
        health = memory.health()
        assert (health.status, health.custom_outputs) == ("degraded", {"memory": "degraded"})
        assert health.detail
        memory.for_user("alice").save("k", 1)
        assert (memory.health()).pending_writes == 1
        proxy.restore()
        recovered(memory)
        health = memory.health()
        assert (health.detail, health.custom_outputs, health.pending_writes) == ("", {}, 0)


def test_health_alone_notices_that_the_database_is_back(proxy: Proxy) -> None:
    with robust(proxy.target) as memory:
        proxy.refuse()
        assert not memory.for_user("alice").items()
        assert (memory.health()).status == "degraded"
        proxy.restore()
        recovered(memory)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message.split(",")[0].split(";")[0] for record in caplog.records if record.name == "lakemem"]


def test_each_change_of_state_is_warned_of_once(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with robust(proxy.target) as memory:
        user = memory.for_user("alice")
        for _ in range(2):
            proxy.refuse()
            for n in range(5):
                user.save(f"k{n}", n)
                user.items()
                memory.health()
            proxy.restore()
            recovered(memory)
    assert warnings_in(caplog) == ["memory is degraded", "memory is back"] * 2


def test_no_log_and_no_health_holds_a_secret_or_a_text(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "lakemem")
    proxy.refuse()
    target = Lakebase.dsn(f"postgresql://ada:hush@127.0.0.1:{proxy.target.parameters['port']}/agents")
    with robust(target, max_writes=1) as memory:
        user = memory.for_user("alice")
        user.save("k", "confidential")
        user.save("k", "confidential")
        said = f"{memory.health()} {memory!r}"
    assert len(caplog.records) == 3
    assert not re.search("hush|confidential", said + caplog.text)


def test_mistakes_of_a_program_are_raised_while_memory_is_down(proxy: Proxy) -> None:
    proxy.refuse()
    with robust(proxy.target) as memory:
        user = memory.for_user("alice")
        with pytest.raises(InvalidInputError):
            user.save("k", float("nan"))
        with pytest.raises(InvalidInputError):
            user.items(limit=-1)
        with pytest.raises(InvalidInputError):
            memory.for_user("")
        with pytest.raises(TypeError):
            user.save()  # type: ignore[call-arg]
        assert (memory.health()).pending_writes == 0


def test_refusals_of_the_database_are_raised_while_it_is_up(proxy: Proxy) -> None:
    with robust(proxy.target) as memory:
        user = memory.for_user("alice")
        with pytest.raises(MemoryNotFoundError):
            user.update("nothing", 1)
        user.save("k", 1)
        with pytest.raises(ConflictError):
            user.update("k", 2, expected_version=7)
        assert (memory.health()).status == "ok"


def test_a_memory_that_is_not_open_is_a_mistake_of_a_program(target: Lakebase) -> None:
    memory = robust(target)
    user = memory.for_user("alice")
    with pytest.raises(ConfigurationError, match="not open"):
        user.save("k", 1)
    with memory:
        user.save("k", 1)
    with pytest.raises(ConfigurationError, match="not open"):
        user.get("k")
    with memory:
        assert user.get("k") is not None


def test_closing_stores_what_it_can(target: Lakebase, proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    with robust(proxy.target, cooldown=60.0) as memory:
        proxy.fault = hits(b"Oslo", "before", "before")
        assert (memory.for_user("alice").save("city", "Oslo")).version == 0
    assert "not stored" not in caplog.text
    with Memory(target) as plain:
        assert plain.for_user("alice").get("city") is not None


def test_closing_says_how_much_is_not_stored(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    proxy.refuse()
    with robust(proxy.target) as memory:
        memory.for_user("alice").save("k", 1)
        memory.for_user("alice").save("l", 1)
    assert "memory is closed while 2 accepted writes are not stored" in caplog.text
    assert (memory.health()).pending_writes == 2


def test_a_memory_opened_again_stores_what_it_still_holds(proxy: Proxy) -> None:
    proxy.refuse()
    memory = robust(proxy.target)
    with memory:
        memory.for_user("alice").save("k", 1)
    proxy.restore()
    with memory:
        recovered(memory)
        assert memory.for_user("alice").get("k") is not None


def test_changes_of_a_thread_are_replayed_in_their_order(proxy: Proxy) -> None:
    proxy.refuse()
    with robust(proxy.target) as memory:
        thread = memory.for_user("alice").thread("t")
        thread.append([{"n": n} for n in range(4)])
        info = thread.update(title="Plans", metadata={"a": 1}, expires_in=60)
        assert (info.thread_id, info.title, info.metadata, info.lifetime) == ("t", "Plans", {"a": 1}, 60)
        assert thread.rewind(to=2) == 0
        thread.append([{"n": 9}])
        thread.update(title="Other")
        proxy.restore()
        recovered(memory)
        assert [(message.position, message.item["n"]) for message in thread.messages()] == [
            (1, 0),
            (2, 1),
            (5, 9),
        ]
        stored = thread.info()
        assert stored is not None
        assert (stored.title, stored.metadata, stored.lifetime) == ("Other", {"a": 1}, 60)


def test_what_nothing_can_stand_in_for_is_raised_and_overtakes_no_write(proxy: Proxy) -> None:
    with robust(proxy.target, cooldown=60.0) as memory:
        user = memory.for_user("alice")
        thread = user.thread("t")

        def export() -> list[Any]:
            return [record for record in user.export()]

        thread.append([{"n": 1}])
        assert len(export()) == 2
        assert (thread.fork(at=1, thread_id="f")).items() == [{"n": 1}]
        proxy.refuse()
        for _ in range(2):
            with pytest.raises(StorageUnavailableError):
                thread.fork(at=1)
            with pytest.raises(StorageUnavailableError):
                export()
        assert (memory.health()).pending_writes == 0
        thread.append([{"n": 2}])
        proxy.restore()
        with pytest.raises(StorageUnavailableError, match="put off"):
            thread.fork(at=1)
        with pytest.raises(StorageUnavailableError, match="put off"):
            export()
    with Memory(proxy.target) as plain:
        assert len(plain.for_user("alice").threads()) == 2


def test_a_fork_that_is_too_slow_is_raised(proxy: Proxy) -> None:
    with robust(proxy.target) as memory:
        thread = memory.for_user("alice").thread("t")
        thread.append([{"n": 1}])
        proxy.black_hole()
        with pytest.raises(StorageUnavailableError):
            thread.fork(at=1)


def test_a_full_buffer_refuses_and_counts(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    proxy.refuse()
    with robust(proxy.target, max_writes=2) as memory:
        thread = memory.for_user("alice").thread("t")
        for n in range(4):
            assert thread.append([{"n": n}]) == range(0)
        health = memory.health()
        assert (health.pending_writes, health.refused_writes) == (2, 2)
        assert caplog.text.count("a write was refused") == 2
        proxy.restore()
        recovered(memory)
        assert thread.items() == [{"n": 0}, {"n": 1}]


def test_a_write_that_is_refused_for_good_does_not_hold_up_the_others(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.refuse()
    with robust(proxy.target) as memory:
        user = memory.for_user("alice")
        user.update("nothing", "confidential")
        user.save("k", 1)
        proxy.restore()
        recovered(memory)
        assert (memory.health()).failed_writes == 1
        assert [record.key for record in user.items()] == ["k"]
    assert "an accepted write was refused for good: there is no memory under this key" in caplog.text


def test_a_replayed_write_that_meets_a_conflict_is_tried_again(target: Lakebase, proxy: Proxy) -> None:
    with connect(target) as connection:
        database = sql.Identifier(str(target.database))
        connection.execute(sql.SQL("ALTER DATABASE {} SET lock_timeout = '20ms'").format(database))
    tries: list[bytes] = []

    def count(request: bytes) -> Fault:
        if b"contested" in request:
            tries.append(request)
        return "none"

    def tried_twice() -> bool:
        return len(tries) >= 2

    proxy.refuse()
    with robust(proxy.target) as memory:
        thread = memory.for_user("alice").thread("t")
        thread.append([{"text": "contested"}])
        with connect(target) as connection, connection.transaction():
            connection.execute("LOCK TABLE lakemem.thread_items IN ACCESS EXCLUSIVE MODE")
            proxy.fault = count
            proxy.restore()
            Poll.until(tried_twice)
        recovered(memory)
        assert (memory.health()).failed_writes == 0
        assert thread.items() == [{"text": "contested"}]
