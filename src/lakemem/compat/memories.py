"""lakemem's memories as the arguments of the Databricks packages ask for them. They open with their first use."""

from __future__ import annotations

from lakemem._async.memory import AsyncMemory
from lakemem._async.opening import AsyncOpening
from lakemem._async.scoped import AsyncScopedMemory
from lakemem._sync.memory import Memory
from lakemem._sync.opening import Opening
from lakemem._sync.scoped import ScopedMemory
from lakemem.compat.arguments import Settings
from lakemem.protocols import Embedder


def memory(settings: Settings, embedder: Embedder | None = None) -> Memory:
    return Memory(
        settings.target,
        embedder=embedder,
        credentials=settings.credentials,
        schema=settings.schema,
        **settings.pool,
    ).through(Opening)


def async_memory(settings: Settings, embedder: Embedder | None = None, *, migrate: bool | None = None) -> AsyncMemory:
    return AsyncMemory(
        settings.target,
        embedder=embedder,
        credentials=settings.credentials,
        schema=settings.schema,
        migrate=migrate,
        **settings.pool,
    ).through(AsyncOpening)


def owned(memory: Memory, settings: Settings) -> ScopedMemory:
    kind, _, name = settings.owner.partition(":")
    return memory.for_user(name) if kind == "user" else memory.for_scope(name)


def async_owned(memory: AsyncMemory, settings: Settings) -> AsyncScopedMemory:
    kind, _, name = settings.owner.partition(":")
    return memory.for_user(name) if kind == "user" else memory.for_scope(name)
