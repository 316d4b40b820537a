"""LangGraph's own conformance suite for checkpointers, on both savers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate

from lakemem import AsyncMemory, Lakebase, Memory
from lakemem.integrations.langgraph import AsyncLakebaseSaver, LakebaseSaver


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_the_base_capabilities_conform(target: Lakebase, kind: str) -> None:
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
    assert report.passed_all_base(), failures
    assert not failures
    base = ("put", "put_writes", "get_tuple", "list", "delete_thread")
    assert sum(report.results[name].tests_passed for name in base) == 17 + 10 + 10 + 16 + 5
