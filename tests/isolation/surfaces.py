"""Every public method of every way into memory, as a call that names things.

The tables are checked against the classes by introspection, so a new method has to be added here.
"""

from __future__ import annotations

import inspect
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeAlias

from agents import Agent, ModelResponse, RunContextWrapper, Usage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.store.base import GetOp, ListNamespacesOp, PutOp, SearchOp

from lakemem import Retention, TokenUsage, Window
from lakemem.operations.checkpoints import Address, Blob
from tests.isolation.ledger import Outcome
from tests.support.extractors import SentenceExtractor


@dataclass(frozen=True)
class Names:
    """What a call names: things that exist for somebody, for nobody, or for no reason."""

    key: str
    thread: str
    run: str
    checkpoint: str
    label: str
    path: str
    text: str

    def all(self) -> list[str]:
        stem = self.path.rpartition("/")[2].removesuffix(".md")
        return [self.key, self.thread, self.run, self.checkpoint, self.label, self.path, self.text, stem]


Call: TypeAlias = Callable[[Any, Names], Any]
Calls: TypeAlias = Mapping[str, Call]

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
_SAID = "I like it."


def _said(x: Names) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"{_SAID} {x.text}"}]


def _cursor(x: Names) -> str:
    return urlsafe_b64encode(f"{MOMENT.isoformat()} {x.thread}".encode("utf-8", "surrogatepass")).decode()


def _archive(x: Names) -> list[dict[str, Any]]:
    moment = MOMENT.isoformat()
    return [
        {
            "kind": "thread", "thread_id": x.thread, "title": None, "metadata": {}, "created_at": moment,
            "updated_at": moment, "expires_at": None, "lifetime": None, "forked_from": None, "forked_position": None,
        },
        {"kind": "item", "thread_id": x.thread, "position": 1, "created_at": moment, "item": {"role": "user"}},
    ]  # fmt: skip


ROOT: Calls = {
    "audit": lambda memory, x: memory.audit(x.key),
    "audit: of a receipt": lambda memory, x: memory.audit(
        f"erased:{sha256(x.key.encode(errors='replace')).hexdigest()}"
    ),
}
SCOPED: Calls = {
    "get": lambda user, x: user.get(x.key),
    "get: in a namespace": lambda user, x: user.get(x.key, namespace=(x.label,)),
    "get: as of": lambda user, x: user.get(x.key, as_of=datetime.now(UTC)),
    "history": lambda user, x: user.history(x.key),
    "items": lambda user, x: user.items(limit=None),
    "items: filtered": lambda user, x: user.items(filter={"label": x.label}, namespace=(x.label,), offset=0),
    "search": lambda user, x: user.search(x.text or "anything", limit=50),
    "search: filtered": lambda user, x: user.search(x.text or "anything", filter={"label": x.label}, neighbors=1),
    "search_many": lambda user, x: user.search_many([x.text or "anything", x.key or "key"]),
    "context": lambda user, x: user.context(x.text or "anything", max_tokens=500),
    "threads": lambda user, x: user.threads(limit=None),
    "threads: from a cursor": lambda user, x: user.threads(after=_cursor(x), filter={"label": x.label}),
    "search_threads": lambda user, x: user.search_threads(x.text or "anything", limit=None),
    "export": lambda user, x: user.export(),
    "export: of a thread": lambda user, x: user.export(x.thread),
    "audit": lambda user, x: user.audit(),
    "holds": lambda user, x: user.holds(),
    "residue": lambda user, x: user.residue(),
    "extract": lambda user, x: user.extract(_said(x), SentenceExtractor(), thread_id=x.thread, dry_run=True),
    "consolidate": lambda user, x: user.consolidate(dry_run=True),
    "thread": lambda user, x: user.thread(x.thread).info(),
    "update": lambda user, x: user.update(x.key, "changed"),
    "revert": lambda user, x: user.revert(x.key, 1),
    "delete": lambda user, x: user.delete(x.key, namespace=(x.label,)),
    "delete: erasing": lambda user, x: user.delete(x.key, erase=True),
    "forget": lambda user, x: user.forget(key=x.key),
    "forget: of a thread": lambda user, x: user.forget(thread_id=x.thread, namespace=(x.label,), erase=True),
    "forget: filtered": lambda user, x: user.forget(filter={"label": x.label}),
    "save": lambda user, x: user.save(x.key, "mine", namespace=(x.label,), metadata={"label": x.label}),
    "save: from a thread": lambda user, x: user.save(x.key, "mine too", thread_id=x.thread, position=1),
    "remember": lambda user, x: user.remember(_said(x), thread_id=x.thread),
    "import_archive": lambda user, x: user.import_archive(_archive(x)),
    "hold": lambda user, x: user.hold(x.key, placed_by="somebody", reason="a case"),
    "release": lambda user, x: user.release(x.key, released_by="somebody"),
    "drop_keys": lambda user, x: user.drop_keys(reason="asked for"),
}
QUARANTINE: Calls = {
    "list": lambda user, x: user.quarantine.list(),
    "release": lambda user, x: user.quarantine.release(x.key),
    "reject": lambda user, x: user.quarantine.reject(x.key),
}
LAST: Calls = {"erase": lambda user, x: user.erase(reason="asked for")}
"""What leaves its caller nothing to look at."""

THREAD: Calls = {
    "items": lambda user, x: user.thread(x.thread).items(),
    "messages": lambda user, x: user.thread(x.thread).messages(limit=5),
    "info": lambda user, x: user.thread(x.thread).info(),
    "window": lambda user, x: user.thread(x.thread).window(Window(tokens=99, items=9)),
    "oldest": lambda user, x: user.thread(x.thread).oldest(2),
    "new_items": lambda user, x: user.thread(x.thread).new_items(_said(x)),
    "usage": lambda user, x: user.thread(x.thread).usage(),
    "turns": lambda user, x: user.thread(x.thread).turns(),
    "fork": lambda user, x: user.thread(x.thread).fork(at=1, thread_id=f"{x.thread} forked"),
    "replace_tail": lambda user, x: user.thread(x.thread).replace_tail(None, _said(x)),
    "rewind": lambda user, x: user.thread(x.thread).rewind(to=0),
    "pop": lambda user, x: user.thread(x.thread).pop(),
    "update": lambda user, x: user.thread(x.thread).update(title="mine", metadata={"label": x.label}),
    "store_usage": lambda user, x: user.thread(x.thread).store_usage(TokenUsage(requests=1), run_id=x.run),
    "append": lambda user, x: user.thread(x.thread).append(_said(x)),
    "clear": lambda user, x: user.thread(x.thread).clear(),
    "delete": lambda user, x: user.thread(x.thread).delete(),
}


def _address(x: Names) -> Address:
    return Address(x.thread, "", x.checkpoint)


CHECKPOINTS: Calls = {
    "get": lambda user, x: user.checkpoints.get(x.thread, "", x.checkpoint),
    "get: the newest": lambda user, x: user.checkpoints.get(x.thread, ""),
    "history": lambda user, x: user.checkpoints.history(x.thread, "", None, ["messages"]),
    "list": lambda user, x: user.checkpoints.list(),
    "list: of a thread": lambda user, x: user.checkpoints.list(thread_id=x.thread, before=x.checkpoint),
    "take": lambda user, x: user.checkpoints.take(_address(x)),
    "copy_thread": lambda user, x: user.checkpoints.copy_thread(x.thread, f"{x.thread} copied"),
    "prune": lambda user, x: user.checkpoints.prune(x.thread, Retention(last=1)),
    "delete_for_runs": lambda user, x: user.checkpoints.delete_for_runs([x.run]),
    "put": lambda user, x: user.checkpoints.put(
        _address(x),
        parent_checkpoint_id=None,
        checkpoint=Blob("json", b"{}"),
        metadata="{}",
        channel_versions='{"a": "1"}',
        blobs={"a": ("1", Blob("json", b"1"))},
    ),
    "put_writes": lambda user, x: user.checkpoints.put_writes(
        _address(x), task_id="1", task_path="", writes=[(0, "a", Blob("json", b"2"))]
    ),
    "delete_thread": lambda user, x: user.checkpoints.delete_thread(x.thread),
}
RUNS: Calls = {
    "get": lambda user, x: user.runs.get(x.run),
    "list": lambda user, x: user.runs.list(100),
    "list: of a thread": lambda user, x: user.runs.list(thread_id=x.thread),
    "list: from a cursor": lambda user, x: user.runs.list(after=x.run),
    "events": lambda user, x: user.runs.events(x.run),
    "cancel": lambda user, x: user.runs.cancel(x.run),
    "resume": lambda user, x: user.runs.resume(x.run, "yes"),
    "retry": lambda user, x: user.runs.retry(x.run),
    "create: on a run of that id": lambda user, x: user.runs.create(
        {"input": "mine"}, run_id=f"{x.run} next", previous_run_id=x.run, thread_id=x.thread, on_busy="reject"
    ),
    "create": lambda user, x: user.runs.create({"input": "mine"}, run_id=x.run, idempotency_key=x.key),
    "delete": lambda user, x: user.runs.delete(x.run),
}
TAIL: Calls = {"tail": lambda user, x: user.runs.tail(x.run)}
"""Of a run that is there it would have no end, so of others' runs alone."""

FILES: Calls = {
    "view": lambda files, x: files.view(x.path),
    "view: all": lambda files, x: files.view("/memories"),
    "answer": lambda files, x: files.answer({"command": "view", "path": x.path}),
    "call": lambda files, x: files.call({"command": "view", "path": x.path}),
    "str_replace": lambda files, x: files.str_replace(x.path, "a", "b"),
    "insert": lambda files, x: files.insert(x.path, 0, "mine"),
    "rename": lambda files, x: files.rename(x.path, f"{x.path}.renamed"),
    "delete": lambda files, x: files.delete(x.path),
    "create": lambda files, x: files.create(x.path, "mine"),
}

SESSION: Calls = {
    "get_items": lambda session, x: session(x.thread).get_items(),
    "turns": lambda session, x: session(x.thread).turns(),
    "usage": lambda session, x: session(x.thread).usage(),
    "new_items": lambda session, x: session(x.thread).new_items(_said(x)),
    "fork": lambda session, x: session(x.thread).fork(at=1, session_id=f"{x.thread} forked"),
    "rewind": lambda session, x: session(x.thread).rewind(to=0),
    "pop_item": lambda session, x: session(x.thread).pop_item(),
    "store_usage": lambda session, x: session(x.thread).store_usage(_Ran()),
    "add_items": lambda session, x: session(x.thread).add_items(_said(x)),
    "clear_session": lambda session, x: session(x.thread).clear_session(),
    "close": lambda session, x: session(x.thread).get_items(),
}


class _Ran:
    """A result of the SDK that used nothing."""

    context_wrapper = RunContextWrapper(context=None)
    last_agent = Agent("an agent")
    raw_responses = (ModelResponse(output=[], usage=Usage(), response_id=None),)


def _at(x: Names, *, checkpoint: bool = True) -> dict[str, Any]:
    configurable = {"thread_id": x.thread, "checkpoint_ns": ""}
    return {"configurable": {**configurable, **({"checkpoint_id": x.checkpoint} if checkpoint else {})}}


SAVER: Calls = {
    "aget": lambda saver, x: saver.aget(_at(x)),
    "aget_tuple": lambda saver, x: saver.aget_tuple(_at(x)),
    "aget_tuple: the newest": lambda saver, x: saver.aget_tuple(_at(x, checkpoint=False)),
    "aget_delta_channel_history": lambda saver, x: saver.aget_delta_channel_history(
        config=_at(x, checkpoint=False), channels=["messages"]
    ),
    "alist": lambda saver, x: saver.alist(None),
    "alist: of a thread": lambda saver, x: saver.alist(_at(x, checkpoint=False), filter={"label": x.label}),
    "acopy_thread": lambda saver, x: saver.acopy_thread(x.thread, f"{x.thread} copied"),
    "aprune": lambda saver, x: saver.aprune([x.thread]),
    "adelete_for_runs": lambda saver, x: saver.adelete_for_runs([x.run]),
    "aput": lambda saver, x: saver.aput(
        _at(x, checkpoint=False),
        {**empty_checkpoint(), "id": x.checkpoint, "channel_values": {"c": "mine"}, "channel_versions": {"c": "1"}},
        {"source": "input", "step": -1, "parents": {}},
        {"c": "1"},
    ),
    "aput_writes": lambda saver, x: saver.aput_writes(_at(x), [("c", "mine")], "task"),
    "adelete_thread": lambda saver, x: saver.adelete_thread(x.thread),
}
STORE: Calls = {
    "aget": lambda store, x: store.aget((x.label,), x.key),
    "asearch": lambda store, x: store.asearch((), limit=100),
    "asearch: in a namespace": lambda store, x: store.asearch(
        (x.label,), query=x.text or "anything", filter={"label": x.label}
    ),
    "alist_namespaces": lambda store, x: store.alist_namespaces(limit=1000),
    "alist_namespaces: below": lambda store, x: store.alist_namespaces(prefix=(x.label,), suffix=("*",)),
    "abatch": lambda store, x: store.abatch(
        [GetOp((x.label,), x.key), SearchOp((x.label,)), ListNamespacesOp(), PutOp((x.label,), x.key, {"of": "mine"})]
    ),
    "adelete": lambda store, x: store.adelete((x.label,), x.key),
    "aput": lambda store, x: store.aput((x.label,), x.key, {"of": "mine"}),
}


def synced(calls: Calls) -> dict[str, Call]:
    """The sync twins of an adapter's calls: without the `a`, which LangGraph puts before a name."""
    return {name[1:]: _without_a(call) for name, call in calls.items()}


def _without_a(call: Call) -> Call:
    class Sync:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name.removeprefix("a"))

    return lambda inner, x: call(Sync(inner), x)


LONG_TERM: Calls = {
    "get_memory": lambda own, x: own.memory.get_memory(own.user, x.key),
    "search_memories": lambda own, x: own.memory.search_memories(own.user, x.text, 50),
    "search_memories: newest": lambda own, x: own.memory.search_memories(own.user, ""),
    "list_memories": lambda own, x: own.memory.list_memories(own.user),
    "list_memories: with a prefix": lambda own, x: own.memory.list_memories(own.user, x.key[:4]),
    "delete_memory": lambda own, x: own.memory.delete_memory(own.user, x.key),
    "save_memory": lambda own, x: own.memory.save_memory(own.user, x.key, {"of": "mine"}),
}


@dataclass(frozen=True)
class Own:
    """A memory whose calls name their user."""

    memory: Any
    user: str


NO_ROWS = {
    "AsyncMemory": {
        # They open and close, or make what the other tables call.
        "open", "close", "for_user", "for_scope", "logged_in_as", "through", "health", "setup", "schema", "target",
        # They work for everybody, as each of their owners, and return numbers alone: see test_isolation.py.
        "sweep", "consolidate", "reembed", "worker", "keys",
    },
    # A key is rotated only where there is encryption: see tests/encryption.
    "AsyncScopedMemory": {"owner", "is_degraded", "checkpoints", "runs", "quarantine", "rotate_key"},
    "AsyncFileMemory": {"namespace"},
    # LangGraph's own: pure, or refused on an async saver.
    "AsyncLakebaseSaver": {
        "config_specs", "serde", "with_allowlist", "get_next_version", "get", "get_tuple", "list", "put", "put_writes",
        "get_delta_channel_history", "copy_thread", "prune", "delete_for_runs", "delete_thread",
    },
    # The asynchronous methods of a sync saver call the sync ones on a thread.
    "LakebaseSaver": {
        "config_specs", "serde", "with_allowlist", "get_next_version", "aget", "aget_tuple", "alist", "aput",
        "aput_writes", "aget_delta_channel_history", "acopy_thread", "aprune", "adelete_for_runs", "adelete_thread",
    },
    "AsyncLakebaseStore": {
        "supports_ttl", "ttl_config", "batch", "delete", "get", "list_namespaces", "put", "search",
        # They remove what has expired, of this owner.
        "start_ttl_sweeper", "stop_ttl_sweeper", "sweep_ttl",
    },
    "LakebaseStore": {
        "supports_ttl", "ttl_config", "abatch", "adelete", "aget", "alist_namespaces", "aput", "asearch",
        "start_ttl_sweeper", "stop_ttl_sweeper", "sweep_ttl",
    },
    # Attributes of the SDK's sessions.
    "LakebaseSession": {"session_id", "session_settings", "thread"},
    "LongTermMemory": {"setup", "close"},
    "ShortTermMemory": {
        "setup", "close", "get_checkpointer", "generate_thread_id", "resolve_thread_id", "get_checkpoint_config",
    },
}  # fmt: skip
"""Public names that touch no rows of anybody, by class, and those that another table has."""


def public(cls: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")}


def covered(calls: Calls) -> set[str]:
    return {name.partition(":")[0] for name in calls}


async def finished(begin: Callable[[], Any]) -> Outcome:
    """Make a call of either world to its end: awaited, or drained."""
    try:
        value = begin()
        if isinstance(value, Awaitable):
            value = await value
        if isinstance(value, AsyncIterator):
            value = [part async for part in value]
        elif isinstance(value, Iterator):
            value = list(value)
    except Exception as error:
        return Outcome(error, is_error=True)
    return Outcome(value)
