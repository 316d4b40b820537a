# Generated from tests/_async/test_jobs.py by tools/unasync.py: edit that file, then run `make generate`.
"""Jobs: what is accepted is done once, whoever dies on the way."""

from __future__ import annotations

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
    ConfigurationError,
    InvalidInputError,
    Lakebase,
    LeaseLostError,
    Memory,
    Proposal,
    ScopedMemory,
    StorageUnavailableError,
    Worked,
)
from lakemem.operations import jobs
from lakemem.testing.concurrency import gather
from lakemem.waiting import within
from tests.faults import Poll, Proxy
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


def facts_of(user: ScopedMemory) -> list[str]:
    return sorted(record.value for record in user.items(kind="fact", limit=None))


def test_facts_say_where_they_come_from(memory: Memory, alice: ScopedMemory, target: Lakebase) -> None:
    moment = datetime(2025, 5, 1, tzinfo=UTC)
    first, second = alice.remember(
        [said("I like tea. It rains."), said("I have a dog.", occurred_at=moment)], thread_id="t", namespace=("chat",)
    )
    assert stored_jobs(target) == [("extract", "queued", 0, None, False)]
    assert memory.worker(SentenceExtractor()).run_once() == Worked(jobs=1, facts=2)
    assert stored_jobs(target) == []
    dog, tea = sorted(alice.items(kind="fact", namespace=("chat",)), key=lambda record: str(record.value))
    assert (tea.value, tea.sources, tea.thread_id, tea.position) == ("The user says: I like tea", (first.key,), "t", 1)
    assert (dog.sources, dog.position, dog.occurred_at, dog.valid_from) == ((second.key,), 2, moment, moment)
    assert memory.worker(SentenceExtractor()).run_once() == Worked()


def test_an_extractor_is_shown_small_numbers_what_went_before_and_what_is_known(
    memory: Memory, alice: ScopedMemory
) -> None:
    alice.save("pet", "I have a dog.")
    alice.remember([said(f"Turn {n}.") for n in range(10)], thread_id="t", extract=False)
    alice.remember([said("Elsewhere.")], thread_id="u", extract=False)
    alice.remember([said("My dog likes tea."), said("Really.")], thread_id="t")
    extractor = SentenceExtractor()
    memory.worker(extractor).run_once()
    [(turns, known)] = extractor.shown
    assert [(turn.id, turn.text, turn.is_new) for turn in turns] == [
        *((n, f"Turn {n + 4}.", False) for n in range(6)),
        (6, "My dog likes tea.", True),
        (7, "Really.", True),
    ]
    assert [(each.id, each.text) for each in known] == [(0, "pet: I have a dog.")]


def test_a_subject_has_one_value_and_what_was_said_later_wins_whichever_job_is_done_first(
    memory: Memory, alice: ScopedMemory, target: Lakebase
) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    rows = Rows(target, alice.owner)
    for day, city in enumerate(["Rome", "Oslo", "Lima"]):
        alice.remember([said(f"I live in {city}.", occurred_at=start + timedelta(days=day))], thread_id=city)
        rows("UPDATE lakemem.jobs SET run_after = now() - make_interval(days => %s) WHERE attempts = 0", day)
    assert memory.worker(SentenceExtractor()).run_once() == Worked(jobs=3, facts=3)
    home = alice.get("user.home")
    assert home is not None
    assert home.value == "The user says: I live in Lima"
    for day, city in enumerate(["Rome", "Oslo", "Lima"]):
        then = alice.get("user.home", as_of=start + timedelta(days=day, hours=1))
        assert then is not None
        assert then.value == f"The user says: I live in {city}"


def test_what_has_no_common_subject_is_linked_and_stays(memory: Memory, alice: ScopedMemory) -> None:
    alice.save("diet", "The user eats meat and pizza.")

    def supersede(proposals: list[Proposal]) -> list[Proposal]:
        return [Proposal("The user has given up meat.", [0], subject="user.diet", supersedes=0)]

    alice.remember([said("I eat no more meat on pizza.")])
    memory.worker(SentenceExtractor(supersede)).run_once()
    assert alice.get("diet") is not None
    diet = alice.get("user.diet")
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
def test_a_lying_model_corrupts_nothing(memory: Memory, alice: ScopedMemory, lie: str) -> None:
    for key in ("settings", "app.settings"):
        alice.save(key, {"theme": "dark"})
    before = {record.key: record for record in alice.items(limit=None)}
    [turn] = alice.remember([said("I like tea.")], thread_id="t")
    worked = memory.worker(SentenceExtractor(LIES[lie])).run_once()
    assert worked.jobs == 1
    assert worked.dropped == (0 if lie == "nul" else worked.dropped)
    assert worked.dropped > 0 or lie == "nul"
    after = {record.key: record for record in alice.items(limit=None)}
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
def test_a_failing_model_loses_nothing_and_its_job_is_dead_in_the_end(
    memory: Memory, alice: ScopedMemory, target: Lakebase, error: str
) -> None:
    alice.remember([said("I like tea.")], thread_id="t")
    worker = memory.worker(SentenceExtractor(FAILURES[error]), max_attempts=3, **QUICK)
    total = Worked()
    while not total.dead:
        total += worker.run_once()
    assert total == Worked(failed=2, dead=1)
    assert stored_jobs(target) == [("extract", "dead", 3, error, False)]
    [dead] = worker.dead()
    assert (dead.owner, dead.kind, dead.attempts, dead.error) == ("user:alice", "extract", 3, error)
    assert "tea" not in str(Rows(target, alice.owner)("SELECT to_jsonb(j)::text FROM lakemem.jobs AS j"))
    assert [hit.value for hit in alice.search("tea")] == ["I like tea."]

    mended = memory.worker(SentenceExtractor())
    assert mended.run_once() == Worked()
    assert mended.retry_dead() == 1
    assert mended.run_once() == Worked(jobs=1, facts=1)
    assert mended.dead() == []


def test_pauses_double_up_to_a_bound(memory: Memory, alice: ScopedMemory, target: Lakebase) -> None:
    alice.remember([said("I like tea.")])
    rows = Rows(target, alice.owner)
    worker = memory.worker(SentenceExtractor(FAILURES["RuntimeError"]), pause=10, max_pause=50, max_attempts=9)
    pauses = []
    for _ in range(5):
        assert worker.run_once() == Worked(failed=1)
        assert worker.run_once() == Worked(), "it waits"
        [(pause,)] = rows("SELECT extract(epoch FROM run_after - clock_timestamp())::float8 FROM lakemem.jobs")
        pauses.append(pause)
        rows("UPDATE lakemem.jobs SET run_after = now()")
    for pause, expected in zip(pauses, [10, 20, 40, 50, 50], strict=True):
        assert 0.75 * expected - 2 < pause <= 1.25 * expected


def test_a_job_that_nobody_survives_is_given_up(memory: Memory, alice: ScopedMemory, target: Lakebase) -> None:
    alice.remember([said("I like tea.")])
    for _ in range(3):
        lease = memory._storage.run(jobs.claim(alice.owner, ["extract"], lease_for=60))
        assert lease is not None
        Rows(target, alice.owner)("UPDATE lakemem.jobs SET leased_until = now()")
    assert memory.worker(SentenceExtractor(), max_attempts=3).run_once() == Worked(dead=1)
    assert stored_jobs(target) == [("extract", "dead", 4, "LeaseLostError", False)]


def test_a_lease_that_ended_is_taken_over_once_and_its_holder_completes_nothing(
    memory: Memory, alice: ScopedMemory, target: Lakebase
) -> None:
    others: list[Worked] = []

    def overtaken(_: list[Proposal]) -> list[Proposal]:
        Rows(target, alice.owner)("UPDATE lakemem.jobs SET leased_until = now()")
        with Memory(target) as another:
            others.extend(another.worker(SentenceExtractor()).run_once() for _ in range(2))
        return [Proposal("written without a lease", [0])]

    alice.remember([said("I like tea.")])
    assert memory.worker(SentenceExtractor(overtaken)).run_once() == Worked(lost=1)
    assert others == [Worked(jobs=1, facts=1), Worked()]
    assert facts_of(alice) == ["The user says: I like tea"]


def test_nothing_can_be_done_to_a_job_without_its_lease(memory: Memory, alice: ScopedMemory, target: Lakebase) -> None:
    alice.remember([said("I like tea.")])
    old = memory._storage.run(jobs.claim(alice.owner, ["extract"], lease_for=60))
    assert old is not None
    assert memory._storage.run(jobs.claim(alice.owner, ["extract"], lease_for=60)) is None, "it is leased"
    Rows(target, alice.owner)("UPDATE lakemem.jobs SET leased_until = now()")
    new = memory._storage.run(jobs.claim(alice.owner, ["extract"], lease_for=60))
    assert new is not None
    assert memory._storage.run(jobs.finish(old)) is False
    assert memory._storage.run(jobs.release(old)) is False
    assert memory._storage.run(jobs.fail(old, "x", max_attempts=1, pause=1, max_pause=1)) is None
    with pytest.raises(LeaseLostError):
        memory._storage.run(jobs.complete(old, []))
    assert stored_jobs(target) == [("extract", "running", 2, None, True)]
    assert memory._storage.run(jobs.release(new)) is True
    assert stored_jobs(target) == [("extract", "queued", 1, None, False)]


def test_a_job_that_somebody_asks_more_of_is_not_waited_for(
    memory: Memory, alice: ScopedMemory, target: Lakebase
) -> None:
    memory._storage.run(jobs.queue_embedding(alice.owner))
    with Rows(target, alice.owner).connect() as saving:
        saving.autocommit = False
        saving.execute("UPDATE lakemem.jobs SET attempts = attempts")
        claim = jobs.claim(alice.owner, ["embed"], lease_for=60)
        assert within(5, lambda: memory._storage.run(claim)) is None
        saving.commit()
    assert memory._storage.run(claim) is not None


def test_workers_at_once_do_each_job_once(memory: Memory, target: Lakebase) -> None:
    def unique(proposals: list[Proposal]) -> list[Proposal]:
        # Two extractions of one turn would leave two facts.
        return [replace(proposal, text=f"{proposal.text} {uuid.uuid4()}") for proposal in proposals]

    users = [memory.for_user(f"user {number}") for number in range(5)]
    for turn in range(4):
        for user in users:
            user.remember([said(f"I said {turn}.")], thread_id="t")
    extractors = [SentenceExtractor(unique) for _ in range(4)]
    done = gather([memory.worker(extractor).run_once for extractor in extractors])
    while any(stored_jobs(target, user.owner) for user in users):
        done.append(memory.worker(extractors[0]).run_once())
    total = sum(done, Worked())
    assert total == Worked(jobs=20, facts=20)
    assert sum(len(extractor.shown) for extractor in extractors) == 20
    for user in users:
        assert len(facts_of(user)) == 4
        in_order = sorted(user.items(kind="fact"), key=lambda record: record.valid_from)
        assert [record.position for record in in_order] == [1, 2, 3, 4]


def test_an_outage_of_memory_costs_nothing_that_was_accepted(target: Lakebase) -> None:
    with Proxy(target) as proxy:
        with Memory(proxy.target, timeout=0.3) as memory:
            alice = memory.for_user("alice")
            alice.remember([said("I like tea.")], thread_id="t")
            worker = memory.worker(SentenceExtractor(lambda proposals: proxy.refuse() or proposals))
            with pytest.raises(StorageUnavailableError):
                worker.run_once()
            proxy.restore()
            assert stored_jobs(target) == [("extract", "running", 1, None, True)]
            Rows(target, "user:alice")("UPDATE lakemem.jobs SET leased_until = now()")
            assert memory.worker(SentenceExtractor()).run_once() == Worked(jobs=1, facts=1)
            assert facts_of(alice) == ["The user says: I like tea"]


@pytest.mark.parametrize("fault", ["before", "after"])
def test_an_answer_that_is_cut_off_doubles_no_fact(target: Lakebase, fault: Any) -> None:
    with Proxy(target) as proxy:
        with Memory(proxy.target, max_size=2) as memory:
            memory.for_user("alice").remember([said("I like tea.")], thread_id="t")
            coming = iter([fault])
            proxy.fault = lambda request: next(coming, "none") if b" jobs.complete\0" in request else "none"
            with pytest.raises(StorageUnavailableError):
                memory.worker(SentenceExtractor()).run_once()
            # Where it was cut off after the commit, there is nothing left to do.
            again = memory.worker(SentenceExtractor()).run_once()
            assert again == (Worked() if fault == "after" else Worked(jobs=1, facts=1))
            assert facts_of(memory.for_user("alice")) == ["The user says: I like tea"]


def test_a_late_vector_is_filled_in(target: Lakebase) -> None:
    embedder = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    with Memory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        assert not (alice.save("pet", "a dog")).embedded
        alice.save("pet", "a cat")
        alice.update("pet", "a kitten", namespace=())
        [turn] = alice.remember([said("We had pasta.")], extract=False)
        assert not turn.embedded
        assert stored_jobs(target) == [("embed", "queued", 0, None, False)], "one job for all of them"
        [hit] = alice.search("pasta")
        assert hit.arms == ("lexical",)

        worker = memory.worker(**QUICK)
        while not (worker.run_once()).dead:
            pass
        assert [job[:4] for job in stored_jobs(target)] == [("embed", "dead", 8, "EmbedderUnavailableError")]
        alice.save("food", "pizza")
        assert stored_jobs(target) == [("embed", "queued", 0, "EmbedderUnavailableError", False)]

        embedder.spoil = None
        assert memory.worker(**QUICK).run_once() == Worked(jobs=1, vectors=3)
        assert stored_jobs(target) == []
        hits = alice.search("pet")
        assert hits[0].key == "pet"
        assert hits[0].similarity == pytest.approx(1, abs=0.05)
        assert {record.embedded for record in alice.items()} == {True}


def test_a_vector_is_not_given_to_a_memory_that_has_changed(target: Lakebase) -> None:
    embedder = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    with Memory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        alice.save("thing", "a dog")

        def change_meanwhile(vectors: Any) -> Any:
            embedder.spoil = None
            with Memory(target, embedder=embedder) as another:
                another.for_user("alice").save("thing", "a train")
            return vectors

        embedder.spoil = change_meanwhile
        assert memory.worker().run_once() == Worked(jobs=1, vectors=0)
        [hit] = alice.search("journey")
        assert (hit.key, hit.similarity) == ("thing", pytest.approx(1, abs=0.01))


def test_what_is_saved_while_vectors_are_filled_in_is_not_forgotten(target: Lakebase) -> None:
    embedder = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    late = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    with Memory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        alice.save("first", "a dog")

        def save_meanwhile(vectors: Any) -> Any:
            embedder.spoil = None
            with Memory(target, embedder=late) as another:
                another.for_user("alice").save("a new one", "a train")
            return vectors

        embedder.spoil = save_meanwhile
        memory.worker().run_once()
        assert {record.embedded for record in alice.items()} == {True}
        assert stored_jobs(target) == []


def test_a_blank_text_without_a_vector_ends_the_job(target: Lakebase) -> None:
    embedder = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    with Memory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        alice.save("one", "a dog")
        embedder.spoil = lambda vectors: [[0.0] * 4 for _ in vectors]
        assert memory.worker().run_once() == Worked(jobs=1, vectors=0)


def test_jobs_beyond_a_lease_go_on_as_the_next(target: Lakebase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "EMBEDDED_AT_ONCE", 2)
    embedder = TopicEmbedder(spoil=lambda _: (_ for _ in ()).throw(OSError("down")))
    with Memory(target, embedder=embedder) as memory:
        alice = memory.for_user("alice")
        for number in range(5):
            alice.save(f"key {number}", f"dog {number}", namespace=("a", f"{number % 2}"))
        embedder.spoil = None
        assert memory.worker(deadline=0.0001, lease=0.0002).run_once() == Worked(jobs=1, vectors=5)
        assert len([text for text in embedder.texts if "dog" in text]) >= 5
        assert {record.embedded for record in alice.items()} == {True}


def test_a_worker_runs_until_it_is_stopped(memory: Memory, alice: ScopedMemory) -> None:
    stop, told = threading.Event(), []

    def tell(worked: Worked) -> None:
        told.append(worked)
        if worked.jobs == 2:
            stop.set()

    def speak() -> None:
        for number in range(3):
            alice.remember([said(f"I said {number}.")], thread_id="t")

    worker = memory.worker(SentenceExtractor(), interval=0.01)

    def work() -> None:
        assert worker.run(stop, progress=tell) == Worked(jobs=2, facts=2)

    gather([work, speak])
    assert told == [Worked(jobs=1, facts=1), Worked(jobs=2, facts=2)]
    assert worker.run(stop) == Worked()
    assert len(facts_of(alice)) == 2


def test_a_slow_extractor_is_not_waited_for(memory: Memory, alice: ScopedMemory, target: Lakebase) -> None:
    stalled = threading.Event()
    alice.remember([said("I like tea.")])
    worker = memory.worker(SentenceExtractor(lambda _: stalled.wait(10)), deadline=0.05)
    assert worker.run_once() == Worked(failed=1)
    stalled.set()
    assert stored_jobs(target) == [("extract", "queued", 1, "TimeoutError", False)]


def test_a_worker_sees_of_others_only_which_jobs_are_due_or_dead(
    memory: Memory, alice: ScopedMemory, target: Lakebase
) -> None:
    alice.remember([said("a secret")], thread_id="t")
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


def test_a_worker_that_can_do_nothing_or_never_ends_is_refused(memory: Memory) -> None:
    with pytest.raises(ConfigurationError, match="extractor"):
        memory.worker().run_once()
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
def test_workers_killed_at_any_moment_lose_no_turn_and_double_no_fact(
    memory: Memory, target: Lakebase, seed: int
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
                accepted[user.owner] += len(user.remember(turns, thread_id=f"{kill}"))
            time.sleep(chance.uniform(0, 0.15))
            place = chance.randrange(2)
            workers[place].kill()
            workers[place].wait()
            workers[place] = start(WORKER, DSN=dsn)

        def all_done() -> bool:
            return not any(stored_jobs(target, user.owner) for user in users)

        Poll.until(all_done)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for user in users:
        records = user.items(limit=None)
        turns_there = {record.key for record in records if record.kind == "turn"}
        sources = [source for record in records if record.kind == "fact" for source in record.sources]
        assert len(turns_there) == accepted[user.owner]
        assert sorted(sources) == sorted(turns_there), "one fact a turn"
