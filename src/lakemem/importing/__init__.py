"""Existing data becomes lakemem's: threads of the OpenAI Agents SDK, LangGraph's checkpoints, LangGraph's
store, and memories of mem0.

The source is read in one read-only transaction, so that it is one consistent state, row by row and never a thread
at a time. Each thread is written in one transaction. An import that was cut off is run again: what came over stays,
and what is new in the source comes over then.
"""

from lakemem.importing.importer import Importer as Importer
from lakemem.importing.mem0 import Mem0Importer as Mem0Importer
from lakemem.importing.owners import Owners as Owners
from lakemem.importing.reports import Report as Report
from lakemem.importing.reports import Watcher as Watcher
from lakemem.importing.source import Source as Source
