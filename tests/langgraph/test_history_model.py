"""Any history of a channel, along any branches, reads as it does where nothing is shared."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from lakemem import AsyncMemory, Lakebase
from lakemem.integrations.langgraph import AsyncLakebaseSaver
from lakemem.testing import DatabaseFactory
from tests.langgraph.history import History, Stored, renewed, space
from tests.langgraph.test_storage_faults import nothing_is_left_over
from tests.support.examples import examples
from tests.support.rows import Rows

Change: TypeAlias = Literal[
    "append", "edit", "mutate", "remove", "trim", "insert", "reverse", "repeat", "replace", "none"
]
Whose: TypeAlias = Literal["same", "other", "new"]
# A change of the list, of the dict, where, after which checkpoint (None: the newest), and by which saver.
Step: TypeAlias = tuple[Change, Change, int, int | None, Whose]

# Lists should grow more often than they begin anew.
CHANGES: list[Change] = [
    "append",
    "append",
    "append",
    "edit",
    "mutate",
    "remove",
    "trim",
    "insert",
    "reverse",
    "repeat",
]
CHANGES += ["replace", "none"]
changes = st.sampled_from(CHANGES)
steps = st.lists(
    st.tuples(
        changes,
        changes,
        st.integers(0, 11),
        st.none() | st.none() | st.integers(0, 11),
        st.sampled_from(["same", "same", "other", "new"]),
    ),
    min_size=3,
    max_size=14,
)


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all examples: each works on a user of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


def part(number: int) -> Any:
    """Elements of many kinds, of which a few are worth to be stored by element."""
    text = f"{number} " + "x" * 300
    return [HumanMessage(text), AIMessage(text, id="a"), {"n": number, "text": text}, text, [True, 1, 1.0, text]][
        number % 5
    ]


def changed(values: list[Any], change: Change, number: int, where: int) -> list[Any]:
    """The list after a change; what "mutate" changes is an element that other versions have, too."""
    place = where % (len(values) or 1)
    match change:
        case "append":
            return [*values, *(part(10 * number + more) for more in range(where % 4 + 1))]
        case "edit" if values:
            return [*values[:place], part(10 * number), *values[place + 1 :]]
        case "mutate" if values:
            element = values[place]
            if isinstance(element, HumanMessage | AIMessage):
                element.additional_kwargs["changed"] = number
            elif isinstance(element, dict):
                element["changed"] = number
            elif isinstance(element, list):
                element.append(number)
            return values
        case "remove":
            return values[:place] + values[place + 1 :]
        case "trim":
            return values[place:]
        case "insert":
            return [*values[:place], part(10 * number), *values[place:]]
        case "reverse":
            return values[::-1]
        case "repeat":
            return [*values, *values[:place]]
        case "replace":
            return [part(10 * number + more) for more in range(where)]
        case _:
            return values


def as_dict(values: list[Any]) -> dict[Any, Any]:
    """Entries by keys of two kinds, which follow the elements."""
    return {str(value)[:8] if place % 2 else place: value for place, value in enumerate(values)}


@settings(max_examples=examples(25), derandomize=True)
@given(sequence=steps)
async def test_every_history_reads_as_it_was_put(target: Lakebase, sequence: Sequence[Step]) -> None:
    async with AsyncMemory(target, min_size=1) as memory:
        user = memory.for_user(f"user {uuid.uuid4()}")
        rows = Rows(target, user.owner)
        same, other = AsyncLakebaseSaver(user), AsyncLakebaseSaver(user)
        history = History(same)
        # What a graph has in its hands, and may change in place.
        hand: Stored | None = None
        for number, (of_list, of_dict, where, after, whose) in enumerate(sequence):
            saver = {"same": same, "other": other, "new": renewed(same)}[whose]
            if history.checkpoints and (after is not None or whose != "same" or hand is None):
                stored = None if after is None else history.checkpoints[after % len(history.checkpoints)]
                hand = await history.load(saver, stored)
            values = copy.copy(hand.checkpoint["channel_values"]) if hand else {"list": [], "entries": []}
            values["list"] = changed(values["list"], of_list, number, where)
            values["entries"] = changed(values["entries"], of_dict, number + 50, where)
            values["dict"] = as_dict(values["entries"])
            hand = await history.put(values, after=hand, saver=saver)
        await history.check()
        assert nothing_is_left_over(rows)
        # What did not change is not stored again by a saver that reads it first.
        before = space(rows)
        hand = await history.load(same)
        await history.put(dict(hand.values), after=hand)
        assert space(rows) == before
