"""The class names and arguments of the Databricks packages, on lakemem: change an import line, keep the code.

::

    from databricks_openai.agents import AsyncDatabricksSession            ->  from lakemem.compat import ...
    from databricks_langchain import CheckpointSaver, AsyncCheckpointSaver
    from databricks_langchain import DatabricksStore, AsyncDatabricksStore

Every class also takes ``user=`` or ``scope=``: whose the data is. The Databricks packages know no owner, so without
either it belongs to the scope ``shared``, which everybody reads who uses these classes. And every class takes
``target=``, any :class:`lakemem.Lakebase`, in place of the names of a Lakebase; with neither, the environment decides.

An argument that has no meaning here is answered by a :class:`CompatWarning`, or by a ConfigurationError where to
ignore it would change what happens.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakemem.compat.arguments import DEFAULT_SCOPE as DEFAULT_SCOPE
    from lakemem.compat.arguments import CompatWarning as CompatWarning
    from lakemem.compat.checkpointers import AsyncCheckpointSaver as AsyncCheckpointSaver
    from lakemem.compat.checkpointers import CheckpointSaver as CheckpointSaver
    from lakemem.compat.checkpointers import ShortTermMemory as ShortTermMemory
    from lakemem.compat.long_term import LongTermMemory as LongTermMemory
    from lakemem.compat.long_term import MemoryItem as MemoryItem
    from lakemem.compat.sessions import AsyncDatabricksSession as AsyncDatabricksSession
    from lakemem.compat.sessions import close_shared_pools as close_shared_pools
    from lakemem.compat.stores import AsyncDatabricksStore as AsyncDatabricksStore
    from lakemem.compat.stores import DatabricksStore as DatabricksStore

_FILES = {
    "arguments": ("CompatWarning", "DEFAULT_SCOPE"),
    "checkpointers": ("AsyncCheckpointSaver", "CheckpointSaver", "ShortTermMemory"),
    "long_term": ("LongTermMemory", "MemoryItem"),
    "sessions": ("AsyncDatabricksSession", "close_shared_pools"),
    "stores": ("AsyncDatabricksStore", "DatabricksStore"),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}

__all__ = [
    "AsyncCheckpointSaver",
    "AsyncDatabricksSession",
    "AsyncDatabricksStore",
    "CheckpointSaver",
    "CompatWarning",
    "DEFAULT_SCOPE",
    "DatabricksStore",
    "LongTermMemory",
    "MemoryItem",
    "ShortTermMemory",
    "close_shared_pools",
]


def __getattr__(name: str) -> Any:
    """Load a class at its first use, so that one framework's classes do not need the other's."""
    if file := _FILE_OF.get(name):
        value = globals()[name] = getattr(import_module(f"{__name__}.{file}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
