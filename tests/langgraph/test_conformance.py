"""LangGraph's own conformance suite for checkpointers, on both savers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate

from lakemem import AsyncMemory, Lakebase, Memory
from lakemem.integrations.langgraph import AsyncLakebaseSaver, LakebaseSaver


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_every_capability_conforms(target: Lakebase, kind: str) -> None:
    @checkpointer_test(name=f"lakemem {kind}")
    async def saver() -> AsyncIterator[AsyncLakebaseSaver | LakebaseSaver]:
        if kind == "async":
            async with AsyncMemory(target) as memory:
                yield AsyncLakebaseSaver(memory.for_user("conformance"))
        else:
            with Memory(target) as memory:
                yield LakebaseSaver(memory.for_user("conformance"))

    report = await validate(saver)
    failures = [failure for result in report.results.values() for failure in result.failures or []]
    assert report.passed_all(), failures
    assert not failures
    assert {name: result.tests_passed for name, result in report.results.items()} == {
        "put": 17,
        "put_writes": 10,
        "get_tuple": 10,
        "list": 16,
        "delete_thread": 5,
        "delete_for_runs": 7,
        "copy_thread": 8,
        "prune": 8,
    }
