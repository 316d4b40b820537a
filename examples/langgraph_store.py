"""LangGraph: a store with filters, wildcards, and items that expire.

pip install "lakemem[local,langgraph]"
python langgraph_store.py
"""

import asyncio

from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime

from lakemem import AsyncMemory
from lakemem.integrations.embedders import LocalEmbedder
from lakemem.integrations.langgraph import AsyncLakebaseStore


async def answer(state: MessagesState, runtime: Runtime) -> dict:
    """Note what the user says for an hour, and answer with what fits of earlier."""
    text = state["messages"][-1].text
    earlier = await runtime.store.asearch(("notes",), query=text, limit=1)
    await runtime.store.aput(("notes", "chat"), text[:40], {"text": text}, ttl=60)
    return {"messages": [("ai", earlier[0].value["text"] if earlier else "I know nothing about it yet.")]}


async def main() -> None:
    async with AsyncMemory(embedder=LocalEmbedder()) as memory:
        # Each read of an item gives it its whole time to live again; a sweep erases what nobody has read in time.
        store = AsyncLakebaseStore(memory, fields=["text"], ttl={"sweep_interval_minutes": 10})
        await store.start_ttl_sweeper()

        graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").compile(store=store)
        for user_id, text in [
            ("ada", "My dog is called Turing."),
            ("ada", "What is my dog's name?"),
            ("bob", "What is my dog's name?"),
        ]:
            config = {"configurable": {"user_id": user_id}}
            state = await graph.ainvoke({"messages": [("user", text)]}, config)
            print(f"{user_id}: {text}\n  {state['messages'][-1].text}")

        # Outside of a run there is no config: a store for one user.
        ada = AsyncLakebaseStore(memory.for_user("ada"), fields=["text"])
        for place, stars in [("tokyo", 5), ("oslo", 3), ("rome", 4)]:
            await ada.aput(("trips", place, "2026"), "hotel", {"text": f"A hotel in {place}", "stars": stars})
        print("namespaces:", await ada.alist_namespaces(prefix=("trips", "*", "2026")))
        print("places:", await ada.alist_namespaces(prefix=("trips",), max_depth=2, limit=2))
        good = await ada.asearch(("trips",), filter={"stars": {"$gte": 4}})
        print("good:", sorted(item.namespace[1] for item in good))

        await ada.aput(("offers",), "flight", {"text": "Oslo for 90 EUR"}, ttl=0.001)
        await asyncio.sleep(0.1)
        print("expired:", await ada.aget(("offers",), "flight"))
        print("erased:", await store.sweep_ttl())
        await store.stop_ttl_sweeper()


asyncio.run(main())
