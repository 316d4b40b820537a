"""Jobs: what is accepted is done once, whoever dies on the way."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    ConfigurationError,
    InvalidInputError,
    Lakebase,
    LeaseLostError,
    Memory,
    Proposal,
    StorageUnavailableError,
    Worked,
)
from lakemem.operations import jobs
from lakemem.testing.concurrency import agather
from lakemem.waiting import awithin
from tests.faults import AsyncPoll, Proxy
from tests.support.embedders import TopicEmbedder
from tests.support.extractors import SentenceExtractor
from tests.support.processes import start
from tests.support.rows import Rows

QUICK: Any = {"pause": 0.001, "max_pause": 0.001, "interval": 0.01}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def stored_jobs(target: Lakebase, owner: str = "user:alice") -> list[tuple[Any, ...]]:
    return Rows(target, owner)(
        "SELECT kind, status, attempts, last_error, leased_until IS NOT NULL FROM lakemem.jobs ORDER BY created_at"
    )


async def facts_of(user: AsyncScopedMemory) -> list[str]:
    return sorted(record.value for record in await user.items(kind="fact", limit=None))


async def test_facts_say_where_they_come_from(memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase) -> None:
    moment = datetime(2025, 5, 1, tzinfo=UTC)
    first, second = await alice.remember(
        [said("I like tea. It rains."), said("I have a dog.", occurred_at=moment)], thread_id="t", namespace=("chat",)
    )
    assert stored_jobs(target) == [("extract", "queued", 0, None, False)]
    assert await memory.worker(SentenceExtractor()).run_once() == Worked(jobs=1, facts=2)
    assert stored_jobs(target) == []
    dog, tea = sorted(await alice.items(kind="fact", namespace=("chat",)), key=lambda record: str(record.value))
    assert (tea.value, tea.sources, tea.thread_id, tea.position) == ("The user says: I like tea", (first.key,), "t", 1)
    assert (dog.sources, dog.position, dog.occurred_at, dog.valid_from) == ((second.key,), 2, moment, moment)
    assert await memory.worker(SentenceExtractor()).run_once() == Worked()


async def test_an_extractor_is_shown_small_numbers_what_went_before_and_what_is_known(
    memory: AsyncMemory, alice: AsyncScopedMemory
) -> None:
    await alice.save("pet", "I have a dog.")
    await alice.remember([said(f"Turn {n}.") for n in range(10)], thread_id="t", extract=False)
    await alice.remember([said("Elsewhere.")], thread_id="u", extract=False)
    await alice.remember([said("My dog likes tea."), said("Really.")], thread_id="t")
    extractor = SentenceExtractor()
    await memory.worker(extractor).run_once()
    [(turns, known)] = extractor.shown
    assert [(turn.id, turn.text, turn.is_new) for turn in turns] == [
        *((n, f"Turn {n + 4}.", False) for n in range(6)),
        (6, "My dog likes tea.", True),
        (7, "Really.", True),
    ]
    assert [(each.id, each.text) for each in known] == [(0, "pet: I have a dog.")]


async def test_a_subject_has_one_value_and_what_was_said_later_wins_whichever_job_is_done_first(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase
) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    rows = Rows(target, alice.owner)
    for day, city in enumerate(["Rome", "Oslo", "Lima"]):
        await alice.remember([said(f"I live in {city}.", occurred_at=start + timedelta(days=day))], thread_id=city)
        rows("UPDATE lakemem.jobs SET run_after = now() - make_interval(days => %s) WHERE attempts = 0", day)
    assert await memory.worker(SentenceExtractor()).run_once() == Worked(jobs=3, facts=3)
    home = await alice.get("user.home")
    assert home is not None
    assert home.value == "The user says: I live in Lima"
    for day, city in enumerate(["Rome", "Oslo", "Lima"]):
        then = await alice.get("user.home", as_of=start + timedelta(days=day, hours=1))
        assert then is not None
        assert then.value == f"The user says: I live in {city}"


async def test_what_has_no_common_subject_is_linked_and_stays(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    await alice.save("diet", "The user eats meat and pizza.")

    def supersede(proposals: list[Proposal]) -> list[Proposal]:
        return [Proposal("The user has given up meat.", [0], subject="user.diet", supersedes=0)]

    await alice.remember([said("I eat no more meat on pizza.")])
    await memory.worker(SentenceExtractor(supersede)).run_once()
    assert await alice.get("diet") is not None
    diet = await alice.get("user.diet")
    assert diet is not None
    assert diet.metadata == {"supersedes": "diet"}


LIES: dict[str, Callable[[list[Proposal]], Any]] = {
    "unknown turn": lambda _: [Proposal("a fact", [7])],
    "unknown turns beside one": lambda _: [Proposal("a fact", [0, 7, -1, True, "0"])],  # type: ignore[list-item]
    "unknown memory": lambda _: [Proposal("a fact", [0], supersedes=99)],
    "somebody else's key": lambda _: [Proposal("a fact", [0], subject="settings")],
    "an app's own value": lambda _: [Proposal("a fact", [0], subject="app.settings")],
    "no proposal": lambda _: [{"text": "a fact"}, None, 3],
    "empty": lambda _: [Proposal(" \n", [0])],
    "endless": lambda _: [Proposal("x" * 1_000_000, [0])],
    "too many": lambda _: [Proposal(f"a fact {n}", [0]) for n in range(10_000)],
    "nul": lambda _: [Proposal("a\x00fact \ud800", [0])],
    "numbers": lambda _: [Proposal("a fact", [0], importance=float("nan"), occurred_at=12)],  # type: ignore[arg-type]
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_model_corrupts_nothing(memory: AsyncMemory, alice: AsyncScopedMemory, lie: str) -> None:
    for key in ("settings", "app.settings"):
        await alice.save(key, {"theme": "dark"})
    before = {record.key: record for record in await alice.items(limit=None)}
    [turn] = await alice.remember([said("I like tea.")], thread_id="t")
    worked = await memory.worker(SentenceExtractor(LIES[lie])).run_once()
    assert worked.jobs == 1
    assert worked.dropped == (0 if lie == "nul" else worked.dropped)
    assert worked.dropped > 0 or lie == "nul"
    after = {record.key: record for record in await alice.items(limit=None)}
    assert {key: after[key] for key in before} == before
    assert [record.value for record in after.values() if record.kind == "turn"] == ["I like tea."]
    facts = [record for record in after.values() if record.key not in before and record.kind == "fact"]
    assert len(facts) == worked.facts <= 20
    for fact in facts:
        assert fact.sources == (turn.key,)
        assert 0 < len(fact.value) <= 1_000


FAILURES: dict[str, Callable[[list[Proposal]], Any]] = {
    "RuntimeError": lambda _: (_ for _ in ()).throw(RuntimeError("I like tea")),
    "ExtractionError": lambda _: "a text",
    "TypeError": lambda proposals: proposals + 3,  # type: ignore[operator]
}


@pytest.mark.parametrize("error", FAILURES)
async def test_a_failing_model_loses_nothing_and_its_job_is_dead_in_the_end(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase, error: str
) -> None:
    await alice.remember([said("I like tea.")], thread_id="t")
    worker = memory.worker(SentenceExtractor(FAILURES[error]), max_attempts=3, **QUICK)
    total = Worked()
    while not total.dead:
        total += await worker.run_once()
    assert total == Worked(failed=2, dead=1)
    assert stored_jobs(target) == [("extract", "dead", 3, error, False)]
    [dead] = await worker.dead()
    assert (dead.owner, dead.kind, dead.attempts, dead.error) == ("user:alice", "extract", 3, error)
    assert "tea" not in str(Rows(target, alice.owner)("SELECT to_jsonb(j)::text FROM lakemem.jobs AS j"))
    assert [hit.value for hit in await alice.search("tea")] == ["I like tea."]

    mended = memory.worker(SentenceExtractor())
    assert await mended.run_once() == Worked()
    assert await mended.retry_dead() == 1
    assert await mended.run_once() == Worked(jobs=1, facts=1)
    assert await mended.dead() == []


async def test_pauses_double_up_to_a_bound(memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase) -> None:
    await alice.remember([said("I like tea.")])
    rows = Rows(target, alice.owner)
    worker = memory.worker(SentenceExtractor(FAILURES["RuntimeError"]), pause=10, max_pause=50, max_attempts=9)
    pauses = []
    for _ in range(5):
        assert await worker.run_once() == Worked(failed=1)
        assert await worker.run_once() == Worked(), "it waits"
        [(pause,)] = rows("SELECT extract(epoch FROM run_after - clock_timestamp())::float8 FROM lakemem.jobs")
        pauses.append(pause)
        rows("UPDATE lakemem.jobs SET run_after = now()")
    for pause, expected in zip(pauses, [10, 20, 40, 50, 50], strict=True):
        assert 0.75 * expected - 2 < pause <= 1.25 * expected


async def test_a_job_that_nobody_survives_is_given_up(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase
) -> None:
    await alice.remember([said("I like tea.")])
    for _ in range(3):
        lease = await memory._storage.run(jobs.claim(alice.owner, ["extract"], lease_for=60))
        assert lease is not None
        Rows(target, alice.owner)("UPDATE lakemem.jobs SET leased_until = now()")
    assert await memory.worker(SentenceExtractor(), max_attempts=3).run_once() == Worked(dead=1)
    assert stored_jobs(target) == [("extract", "dead", 4, "LeaseLostError", False)]


async def test_a_lease_that_ended_is_taken_over_once_and_its_holder_completes_nothing(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase
) -> None:
    others: list[Worked] = []

    def overtaken(_: list[Proposal]) -> list[Proposal]:
        Rows(target, alice.owner)("UPDATE lakemem.jobs SET leased_until = now()")
        with Memory(target) as another:
            others.extend(another.worker(SentenceExtractor()).run_once() for _ in range(2))
        return [Proposal("written without a lease", [0])]

    await alice.remember([said("I like tea.")])
    assert await memory.worker(SentenceExtractor(overtaken)).run_once() == Worked(lost=1)
    assert others == [Worked(jobs=1, facts=1), Worked()]
    assert await facts_of(alice) == ["The user says: I like tea"]


async def test_nothing_can_be_done_to_a_job_without_its_lease(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase
) -> None:
    await alice.remember([said("I like tea.")])
    old = await memory._storage.run(jobs.claim(alice.owner, ["extract"], lease_for=60))
    assert old is not None
    assert await memory._storage.run(jobs.claim(alice.owner, ["extract"], lease_for=60)) is None, "it is leased"
    Rows(target, alice.owner)("UPDATE lakemem.jobs SET leased_until = now()")
    new = await memory._storage.run(jobs.claim(alice.owner, ["extract"], lease_for=60))
    assert new is not None
    assert await memory._storage.run(jobs.finish(old)) is False
    assert await memory._storage.run(jobs.release(old)) is False
    assert await memory._storage.run(jobs.fail(old, "x", max_attempts=1, pause=1, max_pause=1)) is None
    with pytest.raises(LeaseLostError):
        await memory._storage.run(jobs.complete(old, []))
    assert stored_jobs(target) == [("extract", "running", 2, None, True)]
    assert await memory._storage.run(jobs.release(new)) is True
    assert stored_jobs(target) == [("extract", "queued", 1, None, False)]


async def test_a_job_that_somebody_asks_more_of_is_not_waited_for(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase
) -> None:
    await memory._storage.run(jobs.queue_embedding(alice.owner))
    with Rows(target, alice.owner).connect() as saving:
        saving.autocommit = False
        saving.execute("UPDATE lakemem.jobs SET attempts = attempts")
        claim = jobs.claim(alice.owner, ["embed"], lease_for=60)
        assert await awithin(5, lambda: memory._storage.run(claim)) is None
        saving.commit()
    assert await memory._storage.run(claim) is not None


async def test_workers_at_once_do_each_job_once(memory: AsyncMemory, target: Lakebase) -> None:
    def unique(proposals: list[Proposal]) -> list[Proposal]:
        # Two extractions of one turn would leave two facts.
        return [replace(proposal, text=f"{proposal.text} {uuid.uuid4()}") for proposal in proposals]

    users = [memory.for_user(f"user {number}") for number in range(5)]
    for turn in range(4):
        for user in users:
            await user.remember([said(f"I said {turn}.")], thread_id="t")
    extractors = [SentenceExtractor(unique) for _ in range(4)]
    done = await agather([memory.worker(extractor).run_once for extractor in extractors])
    while any(stored_jobs(target, user.owner) for user in users):
        done.append(await memory.worker(extractors[0]).run_once())
    total = sum(done, Worked())
    assert total == Worked(jobs=20, facts=20)
    assert sum(len(extractor.shown) for extractor in extractors) == 20
    for user in users:
        assert len(await facts_of(user)) == 4
        in_order = sorted(await user.items(kind="fact"), key=lambda record: record.valid_from)
        assert [record.position for record in in_order] == [1, 2, 3, 4]


async def test_an_outage_of_memory_costs_nothing_that_was_accepted(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, timeout=0.3) as memory:
            alice = memory.for_user("alice")
            await alice.remember([said("I like tea.")], thread_id="t")
            worker = memory.worker(SentenceExtractor(lambda proposals: proxy.refuse() or proposals))
            with pytest.raises(StorageUnavailableError):
                await worker.run_once()
            proxy.restore()
            assert stored_jobs(target) == [("extract", "running", 1, None, True)]
            Rows(target, "user:alice")("UPDATE lakemem.jobs SET leased_until = now()")
            assert await memory.worker(SentenceExtractor()).run_once() == Worked(jobs=1, facts=1)
            assert await facts_of(alice) == ["The user says: I like tea"]


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_an_answer_that_is_cut_off_doubles_no_fact(target: Lakebase, fault: Any) -> None:
    with Proxy(target) as proxy:
        async with AsyncMemory(proxy.target, max_size=2) as memory:
            await memory.for_user("alice").remember([said("I like tea.")], thread_id="t")
            coming = iter([fault])
            proxy.fault = lambda request: next(coming, "none") if b" jobs.complete\0" in request else "none"
            with pytest.raises(StorageUnavailableError):
                await memory.worker(SentenceExtractor()).run_once()
            # Where it was cut off after the commit, there is nothing left to do.
            again = await memory.worker(SentenceExtractor()).run_once()
            assert again == (Worked() if fault == "after" else Worked(jobs=1, facts=1))
            assert await facts_of(memory.for_user("alice")) == ["The user says: I like tea"]


async def test_a_late_vector_is_filled_in(target: Lakebase) -> None:
    embedder = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    async with AsyncMemory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        assert not (await alice.save("pet", "a dog")).embedded
        await alice.save("pet", "a cat")
        await alice.update("pet", "a kitten", namespace=())
        [turn] = await alice.remember([said("We had pasta.")], extract=False)
        assert not turn.embedded
        assert stored_jobs(target) == [("embed", "queued", 0, None, False)], "one job for all of them"
        [hit] = await alice.search("pasta")
        assert hit.arms == ("lexical",)

        worker = memory.worker(**QUICK)
        while not (await worker.run_once()).dead:
            pass
        assert [job[:4] for job in stored_jobs(target)] == [("embed", "dead", 8, "EmbedderUnavailableError")]
        await alice.save("food", "pizza")
        assert stored_jobs(target) == [("embed", "queued", 0, "EmbedderUnavailableError", False)]

        embedder.spoil = None
        assert await memory.worker(**QUICK).run_once() == Worked(jobs=1, vectors=3)
        assert stored_jobs(target) == []
        hits = await alice.search("pet")
        assert hits[0].key == "pet"
        assert hits[0].similarity == pytest.approx(1, abs=0.05)
        assert {record.embedded for record in await alice.items()} == {True}


async def test_a_vector_is_not_given_to_a_memory_that_has_changed(target: Lakebase) -> None:
    embedder = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    async with AsyncMemory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        await alice.save("thing", "a dog")

        def change_meanwhile(vectors: Any) -> Any:
            embedder.spoil = None
            with Memory(target, embedder=embedder) as another:
                another.for_user("alice").save("thing", "a train")
            return vectors

        embedder.spoil = change_meanwhile
        assert await memory.worker().run_once() == Worked(jobs=1, vectors=0)
        [hit] = await alice.search("journey")
        assert (hit.key, hit.similarity) == ("thing", pytest.approx(1, abs=0.01))


async def test_what_is_saved_while_vectors_are_filled_in_is_not_forgotten(target: Lakebase) -> None:
    embedder = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    late = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    async with AsyncMemory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        await alice.save("first", "a dog")

        def save_meanwhile(vectors: Any) -> Any:
            embedder.spoil = None
            with Memory(target, embedder=late) as another:
                another.for_user("alice").save("a new one", "a train")
            return vectors

        embedder.spoil = save_meanwhile
        await memory.worker().run_once()
        assert {record.embedded for record in await alice.items()} == {True}
        assert stored_jobs(target) == []


async def test_a_blank_text_without_a_vector_ends_the_job(target: Lakebase) -> None:
    embedder = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    async with AsyncMemory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        await alice.save("one", "a dog")
        embedder.spoil = lambda vectors: [[0.0] * 4 for _ in vectors]
        assert await memory.worker().run_once() == Worked(jobs=1, vectors=0)


async def test_jobs_beyond_a_lease_go_on_as_the_next(target: Lakebase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "EMBEDDED_AT_ONCE", 2)
    embedder = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    async with AsyncMemory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        for number in range(5):
            await alice.save(f"key {number}", f"dog {number}", namespace=("a", f"{number % 2}"))
        embedder.spoil = None
        assert await memory.worker(deadline=0.0001, lease=0.0002).run_once() == Worked(jobs=1, vectors=5)
        assert len([text for text in embedder.texts if "dog" in text]) >= 5
        assert {record.embedded for record in await alice.items()} == {True}


async def test_a_worker_runs_until_it_is_stopped(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    stop, told = asyncio.Event(), []

    def tell(worked: Worked) -> None:
        told.append(worked)
        if worked.jobs == 2:
            stop.set()

    async def speak() -> None:
        for number in range(3):
            await alice.remember([said(f"I said {number}.")], thread_id="t")

    worker = memory.worker(SentenceExtractor(), interval=0.01)

    async def work() -> None:
        assert await worker.run(stop, progress=tell) == Worked(jobs=2, facts=2)

    await agather([work, speak])
    assert told == [Worked(jobs=1, facts=1), Worked(jobs=2, facts=2)]
    assert await worker.run(stop) == Worked()
    assert len(await facts_of(alice)) == 2


async def test_a_slow_extractor_is_not_waited_for(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase
) -> None:
    stalled = threading.Event()
    await alice.remember([said("I like tea.")])
    worker = memory.worker(SentenceExtractor(lambda _: stalled.wait(10)), deadline=0.05)
    assert await worker.run_once() == Worked(failed=1)
    stalled.set()
    assert stored_jobs(target) == [("extract", "queued", 1, "TimeoutError", False)]


# async only:
async def test_a_worker_that_is_cancelled_gives_its_job_back(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase
) -> None:
    begun, stalled = threading.Event(), threading.Event()

    def stall(proposals: list[Proposal]) -> list[Proposal]:
        begun.set()
        stalled.wait(10)
        return proposals

    await alice.remember([said("I like tea.")])
    task = asyncio.ensure_future(memory.worker(SentenceExtractor(stall)).run_once())
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stalled.set()
    assert stored_jobs(target) == [("extract", "queued", 0, None, False)]
    assert await memory.worker(SentenceExtractor()).run_once() == Worked(jobs=1, facts=1)


# end async only
async def test_a_worker_sees_of_others_only_which_jobs_are_due_or_dead(
    memory: AsyncMemory, alice: AsyncScopedMemory, target: Lakebase
) -> None:
    await alice.remember([said("a secret")], thread_id="t")
    worker = Rows(target, jobs.JOBS)
    [(row,)] = worker("SELECT to_jsonb(j)::text FROM lakemem.jobs AS j")
    assert "secret" not in row
    for table in ("memories", "memory_events", "threads"):
        assert worker(f"SELECT 1 FROM lakemem.{table}") == []  # type: ignore[arg-type]
    assert worker("UPDATE lakemem.jobs SET attempts = 0 RETURNING 1") == []
    assert worker("DELETE FROM lakemem.jobs RETURNING 1") == []
    Rows(target, alice.owner)("UPDATE lakemem.jobs SET run_after = now() + interval '1 hour'")
    assert worker("SELECT 1 FROM lakemem.jobs") == []
    assert Rows(target, "user:bob")("SELECT 1 FROM lakemem.jobs") == []


async def test_a_worker_that_can_do_nothing_or_never_ends_is_refused(memory: AsyncMemory) -> None:
    with pytest.raises(ConfigurationError, match="extractor"):
        await memory.worker().run_once()
    for wrong in ({"deadline": 5.0, "lease": 5.0}, {"pause": 0}, {"interval": -1.0}, {"max_attempts": 1.5}):
        with pytest.raises(InvalidInputError):
            memory.worker(SentenceExtractor(), **wrong)  # type: ignore[arg-type]


WORKER = """
import os, threading, time, uuid
from lakemem import Lakebase, Memory, Proposal

class Slow:
    def extract(self, turns, known):
        time.sleep(0.02)
        # Two extractions of one turn would leave two facts.
        return [Proposal(f"{uuid.uuid4()} {turn.text}", [turn.id]) for turn in turns if turn.is_new]

with Memory(Lakebase.dsn(os.environ["DSN"])) as memory:
    worker = memory.worker(Slow(), lease=0.5, deadline=0.4, interval=0.01, pause=0.01, max_attempts=1000)
    print("ready", flush=True)
    worker.run(threading.Event())
"""


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
async def test_workers_killed_at_any_moment_lose_no_turn_and_double_no_fact(
    memory: AsyncMemory, target: Lakebase, seed: int
) -> None:
    chance = random.Random(seed)
    users = [memory.for_user(f"user {number}") for number in range(4)]
    dsn = make_conninfo(**target.parameters)
    workers = [start(WORKER, DSN=dsn) for _ in range(2)]
    accepted: Counter[str] = Counter()
    try:
        for kill in range(8):
            for user in users:
                turns = [said(f"{kill}.{number}") for number in range(chance.randint(1, 3))]
                accepted[user.owner] += len(await user.remember(turns, thread_id=f"{kill}"))
            time.sleep(chance.uniform(0, 0.15))
            place = chance.randrange(2)
            workers[place].kill()
            workers[place].wait()
            workers[place] = start(WORKER, DSN=dsn)

        async def all_done() -> bool:
            return not any(stored_jobs(target, user.owner) for user in users)

        await AsyncPoll.until(all_done)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for user in users:
        records = await user.items(limit=None)
        turns_there = {record.key for record in records if record.kind == "turn"}
        sources = [source for record in records if record.kind == "fact" for source in record.sources]
        assert len(turns_there) == accepted[user.owner]
        assert sorted(sources) == sorted(turns_there), "one fact a turn"
