"""LakebaseSession: what the SDK's Session protocol promises, called as the SDK calls it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from importlib.metadata import requires
from typing import Any, cast

import pytest
from agents.items import TResponseInputItem
from agents.memory import OpenAIResponsesCompactionSession, Session, SessionSettings
from agents.memory.session import is_openai_responses_compaction_aware_session
from packaging.requirements import Requirement

from lakemem import AsyncMemory, AsyncScopedMemory, InvalidInputError
from lakemem.integrations.openai_agents import LakebaseSession

EVERY_KIND_OF_ITEM: list[dict[str, Any]] = [
    {"role": "user", "content": "Grüße, 你好, 🦆, a NUL \x00 and half a pair \ud83e"},
    {"role": "user", "content": [{"type": "input_text", "text": ""}, {"type": "input_image", "image_url": "data:"}]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": None},
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"b": 1, "a": "\\u0000"}'},
    {"type": "function_call_output", "call_id": "c1", "output": "line\nbreak\ttab \\ \" '"},
    {"z": 1, "a": [None, True, 1.5, 1e300, -0.0, 12345678901234567890, {"deep": [[]]}], "": "an empty key"},
    {},
]


def items(*dicts: dict[str, Any]) -> list[TResponseInputItem]:
    return cast("list[TResponseInputItem]", list(dicts))


def numbered(count: int, start: int = 0) -> list[TResponseInputItem]:
    return items(*({"role": "user", "content": str(number)} for number in range(start, start + count)))


def as_json(found: object) -> str:
    return json.dumps(found)


async def test_it_is_a_session_of_the_sdk(session: LakebaseSession) -> None:
    assert isinstance(session, Session)
    assert session.session_id == "conversation"
    assert session.session_settings is None
    assert repr(session) == "<LakebaseSession 'conversation'>"


async def test_it_is_not_taken_for_a_session_that_compacts_itself(session: LakebaseSession) -> None:
    assert not hasattr(session, "run_compaction")
    assert not is_openai_responses_compaction_aware_session(session)
    assert not isinstance(session, OpenAIResponsesCompactionSession)


async def test_items_come_back_byte_for_byte(session: LakebaseSession) -> None:
    await session.add_items(items(*EVERY_KIND_OF_ITEM))
    assert as_json(await session.get_items()) == as_json(EVERY_KIND_OF_ITEM)


async def test_a_megabyte_comes_back_whole(session: LakebaseSession) -> None:
    large = items({"role": "user", "content": "ä🦆\x00" * 150_000}, {"role": "user", "content": "after"})
    await session.add_items(large)
    assert await session.get_items() == large


async def test_a_new_session_is_empty(session: LakebaseSession) -> None:
    assert await session.get_items() == []
    assert await session.pop_item() is None
    await session.clear_session()
    await session.add_items([])
    assert await session.get_items() == []


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, range(7)), (0, range(0)), (1, range(6, 7)), (5, range(2, 7)), (99, range(7))]
)
async def test_a_limit_gives_the_newest_items_the_oldest_of_them_first(
    session: LakebaseSession, limit: int | None, expected: range
) -> None:
    await session.add_items(numbered(3))
    await session.add_items(numbered(4, start=3))
    assert await session.get_items(limit=limit) == numbered(len(expected), start=expected.start)
    assert await session.get_items(limit) == numbered(len(expected), start=expected.start)


async def test_a_negative_limit_is_refused(session: LakebaseSession) -> None:
    with pytest.raises(InvalidInputError, match="negative"):
        await session.get_items(limit=-1)


@pytest.mark.parametrize("settings", [SessionSettings(limit=2), {"limit": 2}])
async def test_the_settings_limit_what_is_read_unless_the_call_says_otherwise(
    alice: AsyncScopedMemory, settings: SessionSettings | dict[str, Any]
) -> None:
    session = LakebaseSession(alice.thread("t"), session_settings=settings)
    await session.add_items(numbered(5))
    assert session.session_settings == SessionSettings(limit=2)
    assert await session.get_items() == numbered(2, start=3)
    assert await session.get_items(limit=4) == numbered(4, start=1)
    assert await session.get_items(limit=0) == []


async def test_settings_without_a_limit_read_all(alice: AsyncScopedMemory) -> None:
    session = LakebaseSession(alice.thread("t"), session_settings={})
    await session.add_items(numbered(150))
    assert await session.get_items() == numbered(150)


async def test_pop_takes_the_newest_item_and_says_none_when_there_is_none(session: LakebaseSession) -> None:
    await session.add_items(numbered(3))
    popped = [await session.pop_item() for _ in range(4)]
    assert popped == [*reversed(numbered(3)), None]
    assert await session.get_items() == []


async def test_items_that_are_added_after_a_pop_or_a_clear_stand_at_the_end(session: LakebaseSession) -> None:
    await session.add_items(numbered(3))
    await session.pop_item()
    await session.add_items(numbered(1, start=7))
    assert await session.get_items() == [*numbered(2), *numbered(1, start=7)]
    await session.clear_session()
    assert await session.get_items() == []
    await session.add_items(numbered(2, start=8))
    assert await session.get_items() == numbered(2, start=8)


@pytest.mark.parametrize("bad", [{"content": {1, 2}}, {"content": float("nan")}, {1: "x"}, "text", None])
async def test_a_batch_with_an_item_that_is_not_json_is_refused_whole(session: LakebaseSession, bad: object) -> None:
    await session.add_items(numbered(1))
    with pytest.raises(InvalidInputError):
        await session.add_items([*numbered(2, start=1), bad, *numbered(2, start=3)])  # type: ignore[list-item]
    assert await session.get_items() == numbered(1)


async def test_a_session_is_its_threads_whichever_object_reads_it(alice: AsyncScopedMemory) -> None:
    await LakebaseSession(alice.thread("t")).add_items(numbered(2))
    assert await LakebaseSession(alice.thread("t")).get_items() == numbered(2)
    assert await LakebaseSession(alice.thread("other")).get_items() == []


async def test_another_users_session_with_the_same_id_is_empty(memory: AsyncMemory) -> None:
    hers, his = (LakebaseSession(memory.for_user(name).thread("same")) for name in ("alice", "bob"))
    await hers.add_items(numbered(2))
    assert await his.get_items() == []
    assert await his.pop_item() is None
    await his.clear_session()
    await his.add_items(numbered(1, start=9))
    assert await hers.get_items() == numbered(2)


async def test_a_resuming_run_can_tell_whether_its_batch_arrived(session: LakebaseSession) -> None:
    """The SDK reconciles an append whose outcome it did not see by reading one item more than the batch has."""
    before = await session.get_items()
    batch = numbered(3)
    await session.add_items(batch)
    assert await session.get_items(limit=len(batch) + 1) == batch
    assert await session.get_items(limit=len(before) + len(batch)) == batch

    await session.add_items(numbered(2, start=3))
    assert await session.get_items(limit=3) == [*batch[-1:], *numbered(2, start=3)]


async def test_concurrent_writers_keep_their_batches_together(session: LakebaseSession) -> None:
    batches = [numbered(3, start=10 * writer) for writer in range(25)]
    await asyncio.gather(*(session.add_items(batch) for batch in batches))
    found = await session.get_items()
    stored = [found[place : place + 3] for place in range(0, len(found), 3)]
    assert sorted(map(as_json, stored)) == sorted(map(as_json, batches))


async def test_concurrent_pops_take_each_item_once(session: LakebaseSession) -> None:
    await session.add_items(numbered(20))
    popped = await asyncio.gather(*(session.pop_item() for _ in range(25)))
    taken = sorted(as_json(item) for item in popped if item is not None)
    assert taken == sorted(map(as_json, numbered(20)))
    assert await session.get_items() == []


async def test_a_cancelled_append_is_whole_or_absent(session: LakebaseSession) -> None:
    batches = [numbered(4, start=10 * writer) for writer in range(30)]
    for place, batch in enumerate(batches):
        task = asyncio.create_task(session.add_items(batch))
        for _ in range(place % 10):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    found = await session.get_items()
    stored = [found[place : place + 4] for place in range(0, len(found), 4)]
    assert all(batch in batches for batch in stored)

    await session.clear_session()
    await session.add_items(numbered(1))
    assert await session.get_items() == numbered(1)


def test_no_newer_version_of_what_it_stands_on_is_shut_out() -> None:
    """The extra names the oldest SDK that is tested, and bounds neither it, nor openai, nor mcp from above."""
    extra = [
        wanted
        for wanted in map(Requirement, requires("lakemem") or [])
        if wanted.marker is not None and wanted.marker.evaluate({"extra": "openai-agents"})
    ]
    assert {wanted.name for wanted in extra} == {"openai-agents"}
    assert [bound.operator for wanted in extra for bound in wanted.specifier] == [">="]
    code = "import mcp, mcp.types, openai; from lakemem.integrations.openai_agents import LakebaseSession"
    subprocess.run([sys.executable, "-c", code], check=True)
