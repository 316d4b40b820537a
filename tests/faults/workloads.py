"""What clients do while things go wrong, each through lakemem's public names, and what is there of it afterwards."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from agents import Agent, Runner, set_tracing_disabled
from langgraph.checkpoint.base import create_checkpoint, empty_checkpoint
from langgraph.graph import START, MessagesState, StateGraph

from lakemem import AsyncMemory, AsyncScopedMemory, Attempt, LakememError, Proposal, SourceTurn
from lakemem.integrations.langgraph import AsyncLakebaseSaver
from lakemem.integrations.openai_agents import LakebaseSession
from tests.faults.history import Entry, History, Write
from tests.openai_agents.models import PlannedModel

PATIENCE = 1.5
"""Seconds that a caller waits for an answer of a plain memory."""
LET_GO = 4.5
"""Seconds that a call may take to end once it was cancelled, where the server does not answer."""
DEADLINE = 0.5
"""Seconds that a degrading memory has for an operation."""
SLACK = 0.5
"""Seconds that a busy machine may add."""

TICK = 0.02

SIZES = [20, 20, 20, 3_000, 100_000]
"""Bytes of a text. The largest takes several packets."""


class Client:
    """A client of a memory: notes what it does, and what it is told.

    Attributes:
        shared: the name of what all tasks write to.
        late: calls whose answer came after their deadline.
        surprises: errors that are none of lakemem's.
    """

    def __init__(
        self, memory: AsyncMemory, history: History, chance: random.Random, *, name: str, degrades: bool = False
    ) -> None:
        self.memory = memory
        self.history = history
        self.chance = chance
        self.name = name
        self.degrades = degrades
        # Buffers of two processes have no order between them.
        self.shared = f"shared by {name}" if degrades else "shared"
        self.over = asyncio.Event()
        self._stood, self._ticked = 0.0, time.monotonic()
        self.late: list[str] = []
        self.longest = 0.0
        self.answers = 0
        self.errors: Counter[str] = Counter()
        self.surprises: Counter[str] = Counter()

    async def write(self, log: str, size: int, call: Callable[[str], Awaitable[Any]], *, repeats: bool = False) -> Any:
        """Make a write, and return what it gave; None where it failed.

        Args:
            repeats: make it again until it is acknowledged, or all is over.
        """
        write = self.history.begin(log, size)
        while True:
            is_done, result = await self.ask(f"a write to {log}", lambda: call(write.write_id))
            if is_done:
                self.history.acknowledge(write)
                return result
            if not repeats or self.over.is_set():
                return None
            await self.pause()

    async def read(self, log: str, call: Callable[[], Awaitable[Sequence[Entry]]]) -> None:
        began = time.monotonic()
        is_done, entries = await self.ask(f"a read of {log}", call)
        # While memory is down, a degrading one finds nothing.
        if is_done and not self.degrades:
            self.history.saw(log, began, entries)

    async def ask(self, what: str, call: Callable[[], Awaitable[Any]], *, operations: int = 1) -> tuple[bool, Any]:
        """Make a call as a caller with little patience does. Returns whether it succeeded, and what it returned."""
        began, worked, stood = time.monotonic(), time.thread_time(), self._stood_still()
        result, is_done = None, False
        try:
            if self.degrades:
                result = await call()
            else:
                async with asyncio.timeout(PATIENCE):
                    result = await call()
            is_done = True
        except (LakememError, TimeoutError) as error:
            self.errors[type(error).__name__] += 1
            if self.degrades:
                self.surprises[f"{type(error).__name__} although memory degrades"] += 1
        except Exception as error:
            self.surprises[f"{type(error).__name__}: {error}"[:200]] += 1
        took = time.monotonic() - began
        self.answers += is_done
        self.longest = max(self.longest, took)
        # Time in which this process was not given a core is no fault of the library.
        missed = max(0.0, self._stood_still() - stood - (time.thread_time() - worked))
        if took > (DEADLINE * operations if self.degrades else PATIENCE + LET_GO) + SLACK + missed:
            self.late.append(f"{what} took {took:.2f} s")
        return is_done, result

    def watch(self) -> asyncio.Task[None]:
        """See from now on for how long the event loop stands still."""
        self._ticked = time.monotonic()
        return asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._stood, self._ticked = self._stood_still(), time.monotonic()

    def _stood_still(self) -> float:
        """Seconds, so far."""
        return self._stood + max(0.0, time.monotonic() - self._ticked - TICK)

    async def pause(self) -> None:
        """What a user and a model take; a degrading memory that is down answers at once, and is not to be flooded."""
        await asyncio.sleep(self.chance.uniform(0.03, 0.12) if self.degrades else self.chance.uniform(0.0, 0.03))

    def text(self) -> str:
        return "x" * self.chance.choice(SIZES)


class Workload(Protocol):
    """One kind of work of one user.

    Attributes:
        name: what the table calls it.
        tasks: how many of a client do it at once.
    """

    name: str
    tasks: int

    async def work(self, client: Client, user: AsyncScopedMemory, number: int) -> None:
        """Go on until the client's work is over."""
        ...

    async def found(self, user: AsyncScopedMemory) -> dict[str, list[Entry]]:
        """What is there in the end, by log."""
        ...


class SessionItems:
    """Conversations that one task has to itself, and one that all append to."""

    name = "session items"
    tasks = 3

    async def work(self, client: Client, user: AsyncScopedMemory, number: int) -> None:
        while not client.over.is_set():
            thread = user.thread(client.chance.choice([client.shared, f"{client.name} {number}"]))
            log = f"{user.owner} thread {thread.thread_id}"
            texts = [client.text() for _ in range(client.chance.randint(1, 3))]
            # A session sees an append through also where its caller has gone, so it is for a bounded memory.
            append = LakebaseSession(thread).add_items if client.degrades else thread.append
            await client.write(log, len(texts), partial(_append, append, texts))
            if client.chance.random() < 0.2:
                await client.read(log, partial(self._entries, user, thread.thread_id))
            await client.pause()

    async def found(self, user: AsyncScopedMemory) -> dict[str, list[Entry]]:
        threads = await user.threads(limit=None)
        return {f"{user.owner} thread {each.thread_id}": await self._entries(user, each.thread_id) for each in threads}

    async def _entries(self, user: AsyncScopedMemory, thread_id: str) -> list[Entry]:
        return [_entry(message.item["write"]) for message in await user.thread(thread_id).messages()]


async def _append(append: Callable[[Any], Awaitable[Any]], texts: Sequence[str], write_id: str) -> None:
    await append([{"role": "user", "content": text, "write": [write_id, part]} for part, text in enumerate(texts)])


class Checkpoints:
    """A graph's steps: each stores a checkpoint with a list that grows, and then writes that are pending."""

    name = "checkpoints"
    tasks = 2

    async def work(self, client: Client, user: AsyncScopedMemory, number: int) -> None:
        saver = AsyncLakebaseSaver(user)
        thread_id = f"{client.name} {number}"
        step = _Step({"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}, [], {})
        while not client.over.is_set():
            put = partial(_put, saver, step, client.text())
            stored = await client.write(f"{user.owner} checkpoints {thread_id}", 2, put)
            if stored is not None:
                step = stored
                size = client.chance.randint(1, 3)
                log = f"{user.owner} writes {step.config['configurable']['checkpoint_id']}"
                await client.write(log, size, partial(_put_writes, saver, step, size))
            await client.pause()

    async def found(self, user: AsyncScopedMemory) -> dict[str, list[Entry]]:
        logs: dict[str, list[Entry]] = defaultdict(list)
        histories: dict[str, list[str]] = {}
        newest_first = [each async for each in AsyncLakebaseSaver(user).alist(None)]
        for each in reversed(newest_first):
            configurable = each.config["configurable"]
            values = each.checkpoint["channel_values"]
            log = logs[f"{user.owner} checkpoints {configurable['thread_id']}"]
            if "step" in values:
                log.append((values["step"]["write"], 0))
            if messages := values.get("messages"):
                log.append((messages[-1], 1))
                parent = each.parent_config["configurable"]["checkpoint_id"] if each.parent_config else ""
                if messages[:-1] != histories.get(parent, []):
                    log.append((f"{messages[-1]} after another history", 0))
                histories[configurable["checkpoint_id"]] = messages
            for _, _, (write_id, part) in each.pending_writes or []:
                logs[f"{user.owner} writes {configurable['checkpoint_id']}"].append((write_id, part))
        return logs


@dataclass(frozen=True)
class _Step:
    """Where a graph stands: the config of its last checkpoint, and what is in it."""

    config: Any
    messages: Sequence[str]
    versions: Mapping[str, Any]


async def _put(saver: AsyncLakebaseSaver, last: _Step, text: str, write_id: str) -> _Step:
    """Store the next checkpoint."""
    messages = [*last.messages, write_id]
    values = {"messages": messages, "step": {"write": write_id, "text": text}}
    versions = {name: saver.get_next_version(last.versions.get(name), None) for name in values}
    checkpoint = create_checkpoint(empty_checkpoint(), None, len(messages))
    checkpoint |= {"channel_values": values, "channel_versions": versions}  # type: ignore[typeddict-item]
    config = await saver.aput(last.config, checkpoint, {"source": "loop", "step": 1, "parents": {}}, versions)
    return _Step(config, messages, versions)


async def _put_writes(saver: AsyncLakebaseSaver, step: _Step, size: int, write_id: str) -> None:
    await saver.aput_writes(step.config, [("out", [write_id, part]) for part in range(size)], task_id="task")


class Memories:
    """Memories that one task has to itself, and one that all save; every other save is repeated until it is done."""

    name = "memories"
    tasks = 3

    async def work(self, client: Client, user: AsyncScopedMemory, number: int) -> None:
        while not client.over.is_set():
            key = client.chance.choice([client.shared, f"{client.name} {number}"])
            save = partial(_save, user, key, client.text())
            await client.write(f"{user.owner} memory {key}", 1, save, repeats=client.chance.random() < 0.5)
            await client.pause()

    async def found(self, user: AsyncScopedMemory) -> dict[str, list[Entry]]:
        found = {}
        for record in await user.items(limit=None):
            oldest_first = reversed(await user.history(record.key))
            found[f"{user.owner} memory {record.key}"] = [(version.value["write"], 0) for version in oldest_first]
        return found


async def _save(user: AsyncScopedMemory, key: str, text: str, write_id: str) -> None:
    await user.save(key, {"write": write_id, "text": text}, text="a memory", idempotency_key=write_id)


class Runs:
    """Runs that are queued, and what their handler emits. A run is whole when it is completed."""

    name = "run events"
    tasks = 1

    async def work(self, client: Client, user: AsyncScopedMemory, number: int) -> None:
        while not client.over.is_set():
            create = partial(_create, user, client.chance.randint(3, 12))
            await client.write(f"{user.owner} runs", 2, create, repeats=client.chance.random() < 0.5)
            await asyncio.sleep(client.chance.uniform(0.02, 0.1))

    async def found(self, user: AsyncScopedMemory) -> dict[str, list[Entry]]:
        logs: dict[str, list[Entry]] = {f"{user.owner} runs": []}
        for run in reversed(await user.runs.list(1000)):
            logs[f"{user.owner} runs"].append((run.request["write"], 0))
            if run.status == "completed":
                logs[f"{user.owner} runs"].append((run.request["write"], 1))
            log = logs[f"{run.owner} run {run.run_id}"] = []
            while page := await user.runs.events(run.run_id, after=len(log) - 1):
                for event in page:
                    if event.sequence_number != len(log):
                        log.append((f"a gap before number {event.sequence_number}", 0))
                    log.append(_entry(event.event["write"]))
        return logs


async def _create(user: AsyncScopedMemory, count: int, write_id: str) -> None:
    await user.runs.create({"write": write_id, "count": count}, idempotency_key=write_id, max_attempts=20)


def handler(history: History) -> Callable[[Attempt], Awaitable[None]]:
    """Works on the runs of :class:`Runs`, and notes what it emits, and what it was told is stored."""

    async def handle(attempt: Attempt) -> None:
        log = f"{attempt.owner} run {attempt.run.run_id}"
        pending: list[Write] = []
        for number in range(attempt.request["count"]):
            write = history.begin(log)
            await attempt.emit({"write": [write.write_id, 0]})
            pending.append(write)
            if number % 3 == 2:
                await attempt.flush()
                for each in pending:
                    history.acknowledge(each)
                pending.clear()
            await asyncio.sleep(0.01)

    return handle


class Jobs:
    """Turns whose facts are extracted by a job. A turn is whole when its fact is there."""

    name = "jobs"
    tasks = 2

    async def work(self, client: Client, user: AsyncScopedMemory, number: int) -> None:
        thread_id = f"{client.name} {number}"
        while not client.over.is_set():
            size = client.chance.randint(1, 3)
            remember = partial(_remember, user, thread_id, size)
            log = f"{user.owner} turns {thread_id}"
            await client.write(log, 2 * size, remember, repeats=client.chance.random() < 0.5)
            await client.pause()
            await client.pause()

    async def found(self, user: AsyncScopedMemory) -> dict[str, list[Entry]]:
        facts: Counter[str] = Counter()
        for fact in await user.items(kind="fact", limit=None):
            facts[fact.value] += len(await user.history(fact.key))
        logs: dict[str, list[Entry]] = defaultdict(list)
        turns = await user.items(kind="turn", limit=None)
        for turn in sorted(turns, key=lambda each: each.position or 0):
            _, write_id, part = turn.value.split()
            log = logs[f"{user.owner} turns {turn.thread_id}"]
            log.append((write_id, 2 * int(part)))
            log.extend([(write_id, 2 * int(part) + 1)] * facts.pop(f"fact {write_id} {part}", 0))
        logs[f"{user.owner} facts"] = [(fact, 0) for fact in facts]
        return logs


async def _remember(user: AsyncScopedMemory, thread_id: str, size: int, write_id: str) -> None:
    turns = [{"role": "user", "content": f"note {write_id} {part}"} for part in range(size)]
    await user.remember(turns, thread_id=thread_id)


class NoteExtractor:
    """Finds one fact in each turn of :class:`Jobs`."""

    def extract(self, turns: Sequence[SourceTurn], known: Sequence[Any]) -> list[Proposal]:
        return [Proposal(text=turn.text.replace("note", "fact"), sources=[turn.id]) for turn in turns if turn.is_new]


class AgentTurns:
    """Agents of both frameworks, which are to answer whatever is the matter with their memory."""

    name = "agents' answers"
    tasks = 2
    OPERATIONS = 6
    """What one turn asks of memory, at the most."""

    async def work(self, client: Client, user: AsyncScopedMemory, number: int) -> None:
        set_tracing_disabled(True)
        turn = _openai_turn(user) if number else _graph_turn(user)
        while not client.over.is_set():
            is_done, answer = await client.ask("an agent", turn, operations=self.OPERATIONS)
            if is_done and answer != "Hello":
                client.surprises["an agent's answer is not what it should be"] += 1
            await client.pause()

    async def found(self, user: AsyncScopedMemory) -> dict[str, list[Entry]]:
        return {}


def _openai_turn(user: AsyncScopedMemory) -> Callable[[], Awaitable[str]]:
    async def turn() -> str:
        agent = Agent(name="echo", model=PlannedModel(lambda model, items: [model.says("Hello")]))
        result = await Runner.run(agent, "Say hello", session=LakebaseSession(user.thread("agent")))
        return str(result.final_output)

    return turn


def _graph_turn(user: AsyncScopedMemory) -> Callable[[], Awaitable[str]]:
    builder = StateGraph(MessagesState)
    builder.add_node("echo", lambda state: {"messages": [("ai", "Hello")]})
    builder.add_edge(START, "echo")
    graph = builder.compile(checkpointer=AsyncLakebaseSaver(user))

    async def turn() -> str:
        place: Any = {"configurable": {"thread_id": "graph"}}
        state = await graph.ainvoke({"messages": [("user", "Say hello")]}, place)  # type: ignore[arg-type]
        return str(state["messages"][-1].content)

    return turn


def _entry(given: Sequence[Any]) -> Entry:
    return str(given[0]), int(given[1])


WORKLOADS: Mapping[bool, Sequence[Workload]] = {
    False: [SessionItems(), Checkpoints(), Memories(), Runs(), Jobs()],
    True: [SessionItems(), Checkpoints(), Memories(), Jobs(), AgentTurns()],
}
"""By whether the memory degrades: then runs are refused, and wait for nothing."""
