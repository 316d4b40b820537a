"""Any sequence of changes to threads ends as it does in a model of a few lines."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakemem import (
    AsyncMemory,
    AsyncScopedMemory,
    ConflictError,
    InvalidInputError,
    Lakebase,
    ThreadNotFoundError,
)
from lakemem.operations import threads
from lakemem.testing import DatabaseFactory
from tests._async.examples import examples
from tests.support.rows import Rows

Change: TypeAlias = Literal["append", "pop", "rewind", "fork", "clear", "delete", "title", "expire", "sweep"]
# A change, the thread, a number for it, and another thread.
Step: TypeAlias = tuple[Change, str, int, str]

# Appends are the most frequent, so that there is something to change.
CHANGES: list[Change] = ["append", "append", "append", "pop", "rewind", "fork", "fork", "clear", "delete", "title"]
CHANGES += ["expire", "sweep"]
steps = st.lists(
    st.tuples(st.sampled_from(CHANGES), st.sampled_from("abc"), st.integers(0, 6), st.sampled_from("abc")),
    min_size=5,
    max_size=25,
)


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all examples: each works on a user of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@dataclass
class ModelThread:
    items: dict[int, int] = field(default_factory=dict)
    last: int = 0
    title: str | None = None
    origin: tuple[str, int] | None = None


class Model:
    """What threads do, where nothing can fail. One that has expired is not there."""

    def __init__(self) -> None:
        self.threads: dict[str, ModelThread] = {}

    def apply(self, step: Step, number: int) -> Any:
        change, name, n, other = step
        thread = self.threads.get(name)
        match change:
            case "append":
                thread = self.threads.setdefault(name, ModelThread())
                places = range(thread.last + 1, thread.last + 1 + n % 3 + 1)
                thread.items.update(dict.fromkeys(places, number))
                thread.last = places[-1]
                return places
            case "pop":
                return {"n": thread.items.pop(max(thread.items))} if thread and thread.items else None
            case "rewind":
                after = [place for place in thread.items if place > n] if thread else []
                for place in after:
                    thread and thread.items.pop(place)
                return len(after)
            case "fork":
                if thread is None:
                    return ThreadNotFoundError
                if n not in thread.items:
                    return InvalidInputError
                if other in self.threads:
                    return ConflictError
                kept = {place: item for place, item in thread.items.items() if place <= n}
                self.threads[other] = ModelThread(kept, n, thread.title, (name, n))
                return other
            case "clear":
                if thread:
                    thread.items.clear()
            case "delete":
                return self.threads.pop(name, None) is not None
            case "title":
                self.threads.setdefault(name, ModelThread()).title = f"title {number}"
                return f"title {number}"
            case "expire":
                self.threads.pop(name, None)
        return None


async def apply(user: AsyncScopedMemory, rows: Rows, step: Step, number: int) -> Any:
    """The same on Postgres."""
    change, name, n, other = step
    thread = user.thread(name)
    match change:
        case "append":
            return await thread.append([{"n": number}] * (n % 3 + 1))
        case "pop":
            return await thread.pop()
        case "rewind":
            return await thread.rewind(to=n)
        case "fork":
            try:
                return (await thread.fork(at=n, thread_id=other)).thread_id
            except (ThreadNotFoundError, InvalidInputError, ConflictError) as refused:
                return type(refused)
        case "clear":
            return await thread.clear()
        case "delete":
            return await thread.delete()
        case "title":
            return (await thread.update(title=f"title {number}")).title
        case "expire":
            rows("UPDATE lakemem.threads SET expires_at = now() WHERE thread_id = %s", name)
        case "sweep":
            await user._storage.run(threads.remove_expired(user.owner, n + 1))
    return None


async def state(user: AsyncScopedMemory) -> dict[str, ModelThread]:
    """What a listing and each thread say."""
    found = {}
    for info in await user.threads():
        items = {message.position: message.item["n"] for message in await user.thread(info.thread_id).messages()}
        origin = None if info.forked_from is None else (info.forked_from, info.forked_position or 0)
        found[info.thread_id] = ModelThread(items, 0, info.title, origin)
    return found


async def exported(user: AsyncScopedMemory) -> dict[str, ModelThread]:
    """What an export says."""
    found: dict[str, ModelThread] = {}
    async for record in user.export():
        if record["kind"] == "thread":
            origin = None if record["forked_from"] is None else (record["forked_from"], record["forked_position"])
            found[record["thread_id"]] = ModelThread({}, 0, record["title"], origin)
        else:
            found[record["thread_id"]].items[record["position"]] = record["item"]["n"]
    return found


@settings(max_examples=examples(40), derandomize=True)
@given(sequence=steps)
async def test_every_sequence_of_changes_ends_as_it_does_in_the_model(
    memory: AsyncMemory, target: Lakebase, sequence: Sequence[Step]
) -> None:
    user = memory.for_user(f"user {uuid.uuid4()}")
    rows, model = Rows(target, user.owner), Model()
    for number, step in enumerate(sequence):
        assert await apply(user, rows, step, number) == model.apply(step, number), (number, step)
    for thread in model.threads.values():
        thread.last = 0
    assert await state(user) == model.threads
    assert await exported(user) == model.threads
