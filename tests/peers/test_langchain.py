"""databricks-langchain, unmodified: the checkpointers and the stores.

They work as the Lakebase's owner, since they make their tables in the schema public, where an app may not.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, TypedDict

from databricks_langchain import AsyncCheckpointSaver, AsyncDatabricksStore, CheckpointSaver, DatabricksStore
from langgraph.graph import START, StateGraph

from lakemem.testing import LakebaseEmulator

ENDPOINT = "projects/agent-memory/branches/production/endpoints/primary"
MEMORIES = {
    "drink": "The user likes strong black coffee in the morning.",
    "sport": "The user plays tennis on Sundays.",
    "work": "The user analyses quarterly revenue.",
}


class State(TypedDict):
    steps: Annotated[list[str], lambda old, new: old + new]


def graph() -> Any:
    builder = StateGraph(State)
    builder.add_node("step", lambda state: {"steps": [f"step {len(state['steps'])}"]})
    builder.add_edge(START, "step")
    return builder


def test_a_checkpointer_continues_a_thread(emulator: LakebaseEmulator) -> None:
    config: Any = {"configurable": {"thread_id": str(uuid.uuid4())}}
    for expected in (2, 4):
        with CheckpointSaver(instance_name="agent-memory", workspace_client=emulator.client(emulator.owner)) as saver:
            saver.setup()
            state = graph().compile(checkpointer=saver).invoke({"steps": ["asked"]}, config)
        assert len(state["steps"]) == expected


async def test_an_asyncio_checkpointer_continues_a_thread(emulator: LakebaseEmulator) -> None:
    config: Any = {"configurable": {"thread_id": str(uuid.uuid4())}}
    for expected in (2, 4):
        async with AsyncCheckpointSaver(
            autoscaling_endpoint=ENDPOINT, workspace_client=emulator.client(emulator.owner)
        ) as saver:
            await saver.setup()
            state = await graph().compile(checkpointer=saver).ainvoke({"steps": ["asked"]}, config)
        assert len(state["steps"]) == expected


def test_a_store_finds_by_meaning_with_the_workspaces_embeddings(emulator: LakebaseEmulator) -> None:
    store = DatabricksStore(
        instance_name="agent-memory",
        workspace_client=emulator.client(emulator.owner),
        embedding_endpoint="databricks-gte-large-en",
        embedding_dims=1024,
    )
    store.setup()
    namespace = ("user_memories", uuid.uuid4().hex)
    for key, value in MEMORIES.items():
        store.put(namespace, key, {"text": value})
    [best, *_] = store.search(namespace, query="What does she drink?", limit=3)
    assert best.key == "drink"
    assert emulator.requests.count("POST /serving-endpoints/databricks-gte-large-en/invocations", status=200) >= 4


async def test_an_asyncio_store_keeps_and_deletes(emulator: LakebaseEmulator) -> None:
    async with AsyncDatabricksStore(
        autoscaling_endpoint=ENDPOINT,
        workspace_client=emulator.client(emulator.owner),
        embedding_endpoint="databricks-gte-large-en",
        embedding_dims=1024,
    ) as store:
        await store.setup()
        namespace = ("user_memories", uuid.uuid4().hex)
        await store.aput(namespace, "drink", {"text": MEMORIES["drink"]})
        found = await store.aget(namespace, "drink")
        assert found is not None
        assert found.value == {"text": MEMORIES["drink"]}
        await store.adelete(namespace, "drink")
        assert await store.aget(namespace, "drink") is None
