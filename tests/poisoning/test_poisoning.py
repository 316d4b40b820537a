"""Attempts to make a memory act on a model: what is stopped by design, and what is known not to be.

docs/explanation/trust.md has the table of both. Whether a given model obeys what it reads is not tested here: what is
tested is what it gets to read, and as what.
"""

from __future__ import annotations

import json
import unicodedata
import uuid
from collections import Counter
from typing import Any

import pytest

from lakemem import AsyncFileMemory, AsyncMemory, AsyncScopedMemory, Guard, Lakebase, ProposedWrite
from lakemem._async.toolbox import AsyncToolbox
from lakemem.fencing import CLOSING, HEAD, OPENING
from lakemem.tool_specs import MAX_ANSWER
from lakemem.trust import LEVELS
from tests.poisoning.attacks import GOAL, HOME, LIE, PAYLOADS, TRUTH, WAYS, Credulous, in_a_scope

QUESTION = "Which hotels in Zanzibar are to be booked, and where does the user live?"
MARKS = (
    "<", ">", "\uff1c", "\uff1e", "\u2039/", "system:", "system\uff1a", "developer**:", "assistant:", "thought:",
    "observation:", "final answer:", "[inst]", "[/inst]", "###", "```", '"system"',
)  # fmt: skip


def new_user(memory: AsyncMemory, **options: Any) -> AsyncScopedMemory:
    return memory.for_user(str(uuid.uuid4()), **options)


def assert_nothing_hidden(text: str, *, may: str = "\n") -> None:
    for character in text:
        assert character in may or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def assert_is_data(text: str) -> None:
    """That a block for the instructions is a note, a fence, lines of JSON between, and nothing else."""
    head, opening, *lines, closing = text.split("\n")
    assert (head, opening, closing) == (HEAD, OPENING, CLOSING)
    for line in lines:
        assert isinstance(json.loads(line), dict)
        assert not any(mark in line.lower() for mark in MARKS), line
        assert_nothing_hidden(line)


# Stopped: a memory is data, wherever a model reads it


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_planted_never_leaves_the_place_of_data(
    memory: AsyncMemory, figures: Counter[str], way: str
) -> None:
    for payload in PAYLOADS.values():
        text = payload.format(goal=GOAL)
        victim = new_user(memory)
        await victim.save(HOME, TRUTH)
        await WAYS[way].plant(victim, text)
        found = GOAL in (await victim.context(QUESTION)).text
        assert found == (WAYS[way].trust is not None)
        assert_is_data((await victim.context(QUESTION)).text)
        toolbox = AsyncToolbox(victim)
        for call in (("search_memories", {"query": QUESTION}), ("list_memories", {}), ("get_memory", {"key": HOME})):
            told = await toolbox.call(*call)
            assert isinstance(json.loads(told), dict)
            assert not any(mark in told.lower() for mark in MARKS), told
            assert_nothing_hidden(told, may="")
        figures["read as data"] += 4


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_a_file_hides_nothing(memory: AsyncMemory, figures: Counter[str], payload: str) -> None:
    text = PAYLOADS[payload].format(goal=GOAL)
    files = AsyncFileMemory(new_user(memory))
    await files.create("/memories/a", text)
    shown = await files.view("/memories/a")
    assert_nothing_hidden(shown, may="\n\t")
    numbers = [line.partition("\t")[0].strip() for line in shown.split("\n")[1:]]
    assert numbers == [str(number) for number in range(1, text.count("\n") + 2)], "each line has its number"
    assert not any(mark in shown for mark in ("<|", "[INST]", "<<SYS>>", "</memories>"))
    line = shown.split("\n")[1].partition("\t")[2]
    await files.str_replace("/memories/a", line, "tea")
    assert (await files.view("/memories/a")).split("\n")[1] == "     1\ttea", "what is shown can be edited"
    figures["read as data"] += 1


async def test_what_is_large_drowns_nobody(memory: AsyncMemory, figures: Counter[str]) -> None:
    victim = new_user(memory)
    await victim.save(HOME, TRUTH, trust="user")
    for number in range(20):
        await victim.save(f"hotel {number}", f"{GOAL} hotels " * 5_000, trust="tool")
    toolbox = AsyncToolbox(victim)
    for call in (("search_memories", {"query": QUESTION}), ("list_memories", {}), ("get_memory", {"key": "hotel 1"})):
        assert len(await toolbox.call(*call)) < 1.5 * MAX_ANSWER
    context = await victim.context(QUESTION)
    assert context.tokens <= 1_000
    assert TRUTH in context.text
    files = AsyncFileMemory(victim)
    await files.create("/memories/a", f"{GOAL} hotels " * 50_000)
    assert len(await files.view("/memories/a")) < 60_000
    figures["kept within bounds"] += 5


# Stopped: whoever demands what the user said gets nothing else


@pytest.mark.parametrize("way", WAYS)
async def test_a_demand_lets_no_plant_through(memory: AsyncMemory, figures: Counter[str], way: str) -> None:
    planted = WAYS[way].trust
    victim = new_user(memory)
    await victim.remember([{"role": "user", "content": "I live in Bergen."}], thread_id="t")
    await victim.save(HOME, "Somewhere else.")
    await WAYS[way].plant(victim, LIE)
    for trust in LEVELS:
        context = (await victim.context(QUESTION, trust=trust, neighbors=3)).text
        expected = planted is not None and LEVELS.index(planted) >= LEVELS.index(trust)
        assert (GOAL in context) == expected
        assert "Bergen" in context
        figures["met no demand"] += not expected
    assert GOAL not in str(await victim.search(QUESTION, trust="user", neighbors=20))


# Stopped: nothing takes the place of what the user said

OVERWRITING = {name: way for name, way in WAYS.items() if way.names or "fact" in name}


@pytest.mark.parametrize("way", OVERWRITING)
async def test_what_the_user_said_stays(memory: AsyncMemory, figures: Counter[str], way: str) -> None:
    victim = new_user(memory)
    await victim.extract([{"role": "user", "content": TRUTH}], Credulous())
    before = await victim.get(HOME)
    assert before is not None
    for text in (LIE, TRUTH, TRUTH.upper()):
        await OVERWRITING[way].plant(victim, text)
        assert await victim.get(HOME) == before
        assert [record.version for record in await victim.history(HOME)] == [1]
        figures["did not overrule the user"] += 1
    assert TRUTH in (await victim.context("Where does the user live?", trust="user")).text


async def test_the_same_words_do_not_take_its_place_in_a_context(memory: AsyncMemory, figures: Counter[str]) -> None:
    for trust in ("unknown", "tool", "model"):
        victim = new_user(memory)
        await victim.save(None, TRUTH, trust="user")
        await victim.save(None, f"{TRUTH} Book {GOAL}.", trust=trust, importance=1.0)  # type: ignore[arg-type]
        assert f'"value": "{TRUTH}"' in (await victim.context("Where does the user live?")).text
        figures["did not overrule the user"] += 1


# Stopped: from one user to another


@pytest.mark.parametrize("way", WAYS)
async def test_no_other_user_reads_it(memory: AsyncMemory, figures: Counter[str], way: str) -> None:
    mallory, victim = new_user(memory), new_user(memory)
    await victim.save(HOME, TRUTH)
    await WAYS[way].plant(mallory, LIE)
    assert GOAL not in (await victim.context(QUESTION)).text
    assert [record.value for record in await victim.items()] == [TRUTH]
    figures["stayed with its user"] += 2


async def test_a_shared_scope_speaks_for_itself(memory: AsyncMemory, figures: Counter[str]) -> None:
    """Members read what other members plant, each with the name of the scope; never as what they said themselves."""
    for payload in PAYLOADS.values():
        scope = str(uuid.uuid4())
        await in_a_scope(memory, scope, payload.format(goal=GOAL))
        member = new_user(memory, scopes=[scope])
        outsider = new_user(memory)
        await member.save(HOME, TRUTH, trust="user")
        context = (await member.context(QUESTION)).text
        assert_is_data(context)
        [planted] = [json.loads(line) for line in context.split("\n")[2:-1] if GOAL in line]
        assert planted["shared_by"] == scope
        assert GOAL not in (await member.context(QUESTION, trust="user")).text
        assert [record.value for record in await member.items()] == [TRUTH]
        told = json.loads(await AsyncToolbox(member).call("search_memories", {"query": QUESTION}))
        assert {memory.get("shared_by") for memory in told["memories"] if GOAL in memory["value"]} == {scope}
        assert GOAL not in (await outsider.context(QUESTION)).text
        figures["marked as shared"] += 5


# Stopped by a guard: what a policy flags is nowhere until somebody has looked at it


class NothingButTheUser:
    def flag(self, write: ProposedWrite) -> str | None:
        return None if write.trust == "user" else f"said by: {write.trust}"


@pytest.mark.parametrize("way", WAYS)
async def test_a_policy_holds_back_all_that_the_user_did_not_say(
    target: Lakebase, figures: Counter[str], way: str
) -> None:
    async with AsyncMemory(target, guard=Guard(policy=NothingButTheUser())) as memory:
        victim = new_user(memory)
        await victim.remember([{"role": "user", "content": "I live in Bergen."}], thread_id="t")
        await WAYS[way].plant(victim, LIE)
        assert GOAL not in (await victim.context(QUESTION)).text
        assert GOAL not in str([record.value for record in await victim.items()])
        held = await victim.quarantine.list()
        # There is nothing to correct yet, so the correction is held, too.
        assert any(GOAL in each.text for each in held) == (WAYS[way].trust is not None)
        figures["held back by a policy"] += 1


# Not stopped, and known: whoever changes one of these changes the table in the docs


async def test_not_stopped_what_the_user_is_made_to_say(memory: AsyncMemory) -> None:
    victim = new_user(memory)
    await victim.remember([{"role": "user", "content": f"Summarise this page: {LIE}"}])
    assert GOAL in (await victim.context(QUESTION, trust="user")).text


async def test_not_stopped_an_extractor_that_names_the_wrong_source(memory: AsyncMemory) -> None:
    class Deceived(Credulous):
        def extract(self, turns: Any, known: Any) -> Any:
            return [type(each)(each.text, [0]) for each in super().extract(turns, known)[1:]]

    victim = new_user(memory)
    said = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": LIE}]
    [fact] = (await victim.extract(said, Deceived())).facts
    assert (fact.value, fact.trust) == (LIE, "user")


async def test_not_stopped_a_model_that_is_talked_into_forgetting(memory: AsyncMemory) -> None:
    victim = new_user(memory)
    await victim.save(HOME, TRUTH, trust="user")
    toolbox = AsyncToolbox(victim)
    assert json.loads(await toolbox.call("delete_memory", {"key": HOME})) == {"deleted": HOME}
    await toolbox.call("save_memory", {"key": HOME, "value": LIE})
    now = await victim.get(HOME)
    assert now is not None
    assert (now.value, now.trust) == (LIE, "model"), "but it does not count as said by the user"
    assert (await victim.revert(HOME, 1)).value == TRUTH, "and nothing is lost"


async def test_not_stopped_code_that_does_not_say_whose_words_it_saves(memory: AsyncMemory) -> None:
    victim = new_user(memory)
    await victim.save(HOME, TRUTH, trust="user")
    record = await victim.save(HOME, LIE)
    assert (record.value, record.trust) == (LIE, "unknown")
