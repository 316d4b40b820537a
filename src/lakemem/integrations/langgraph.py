"""LangGraph: a checkpointer, a store, and memory tools (extra ``langgraph``)."""

from __future__ import annotations

from lakemem.integrations.langgraph_runner import recalled as recalled
from lakemem.integrations.langgraph_runner import recalling_prompt as recalling_prompt
from lakemem.integrations.langgraph_runner import respond as respond
from lakemem.integrations.langgraph_runner import stream as stream
from lakemem.integrations.langgraph_savers import AsyncLakebaseSaver as AsyncLakebaseSaver
from lakemem.integrations.langgraph_savers import LakebaseSaver as LakebaseSaver
from lakemem.integrations.langgraph_store import AsyncLakebaseStore as AsyncLakebaseStore
from lakemem.integrations.langgraph_store import LakebaseStore as LakebaseStore
from lakemem.integrations.langgraph_tools import memory_tools as memory_tools
