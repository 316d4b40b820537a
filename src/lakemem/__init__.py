"""Memory for AI agents on Databricks Lakebase, or on any Postgres with pgvector."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakemem._async.files import AsyncFileMemory as AsyncFileMemory
    from lakemem._async.jobs import AsyncWorker as AsyncWorker
    from lakemem._async.keys import AsyncKeys as AsyncKeys
    from lakemem._async.memory import AsyncMemory as AsyncMemory
    from lakemem._async.on_behalf import AsyncOnBehalfOf as AsyncOnBehalfOf
    from lakemem._async.quarantine import AsyncQuarantine as AsyncQuarantine
    from lakemem._async.runs import AsyncRuns as AsyncRuns
    from lakemem._async.scoped import AsyncScopedMemory as AsyncScopedMemory
    from lakemem._async.threads import AsyncThread as AsyncThread
    from lakemem._sync.files import FileMemory as FileMemory
    from lakemem._sync.jobs import Worker as Worker
    from lakemem._sync.keys import Keys as Keys
    from lakemem._sync.memory import Memory as Memory
    from lakemem._sync.on_behalf import OnBehalfOf as OnBehalfOf
    from lakemem._sync.quarantine import Quarantine as Quarantine
    from lakemem._sync.runs import Runs as Runs
    from lakemem._sync.scoped import ScopedMemory as ScopedMemory
    from lakemem._sync.threads import Thread as Thread
    from lakemem.consolidation import Consolidation as Consolidation
    from lakemem.consolidation import MatchPolicy as MatchPolicy
    from lakemem.context import resolve_context as resolve_context
    from lakemem.context import resolve_thread_id as resolve_thread_id
    from lakemem.context import resolve_user_id as resolve_user_id
    from lakemem.credentials import CachedCredentials as CachedCredentials
    from lakemem.degradation import degrading as degrading
    from lakemem.embedding import CallableEmbedder as CallableEmbedder
    from lakemem.encryption import Encryption as Encryption
    from lakemem.encryption import MasterKeys as MasterKeys
    from lakemem.errors import ConfigurationError as ConfigurationError
    from lakemem.errors import ConflictError as ConflictError
    from lakemem.errors import CredentialError as CredentialError
    from lakemem.errors import CursorExpiredError as CursorExpiredError
    from lakemem.errors import DataKeyRetiredError as DataKeyRetiredError
    from lakemem.errors import DimensionMismatchError as DimensionMismatchError
    from lakemem.errors import EmbedderUnavailableError as EmbedderUnavailableError
    from lakemem.errors import EmbeddingError as EmbeddingError
    from lakemem.errors import EncryptionError as EncryptionError
    from lakemem.errors import ErasedError as ErasedError
    from lakemem.errors import ExtractionError as ExtractionError
    from lakemem.errors import GuardError as GuardError
    from lakemem.errors import IdentityError as IdentityError
    from lakemem.errors import InvalidInputError as InvalidInputError
    from lakemem.errors import LakememError as LakememError
    from lakemem.errors import LeaseLostError as LeaseLostError
    from lakemem.errors import MatchingError as MatchingError
    from lakemem.errors import MemoryNotFoundError as MemoryNotFoundError
    from lakemem.errors import MissingExtraError as MissingExtraError
    from lakemem.errors import NotFoundError as NotFoundError
    from lakemem.errors import OnHoldError as OnHoldError
    from lakemem.errors import QueueFullError as QueueFullError
    from lakemem.errors import RunError as RunError
    from lakemem.errors import RunNotFoundError as RunNotFoundError
    from lakemem.errors import SchemaError as SchemaError
    from lakemem.errors import SchemaOutdatedError as SchemaOutdatedError
    from lakemem.errors import SchemaTooNewError as SchemaTooNewError
    from lakemem.errors import StorageError as StorageError
    from lakemem.errors import StorageUnavailableError as StorageUnavailableError
    from lakemem.errors import ThreadBusyError as ThreadBusyError
    from lakemem.errors import ThreadNotFoundError as ThreadNotFoundError
    from lakemem.extraction_types import Extraction as Extraction
    from lakemem.extraction_types import KnownMemory as KnownMemory
    from lakemem.extraction_types import Proposal as Proposal
    from lakemem.extraction_types import SourceTurn as SourceTurn
    from lakemem.file_memory.answers import FileAnswer as FileAnswer
    from lakemem.forgetting import AuditEvent as AuditEvent
    from lakemem.forgetting import Erasure as Erasure
    from lakemem.forgetting import Hold as Hold
    from lakemem.guarding import Guard as Guard
    from lakemem.integrations.tools import create_memory_tools as create_memory_tools
    from lakemem.memory_types import DuplicatePolicy as DuplicatePolicy
    from lakemem.memory_types import Explanation as Explanation
    from lakemem.memory_types import Hit as Hit
    from lakemem.memory_types import MemoryRecord as MemoryRecord
    from lakemem.memory_types import ProposedWrite as ProposedWrite
    from lakemem.memory_types import QuarantinedWrite as QuarantinedWrite
    from lakemem.protocols import AsyncLongTermMemory as AsyncLongTermMemory
    from lakemem.protocols import AsyncShortTermMemory as AsyncShortTermMemory
    from lakemem.protocols import CredentialProvider as CredentialProvider
    from lakemem.protocols import Embedder as Embedder
    from lakemem.protocols import Extractor as Extractor
    from lakemem.protocols import KeyWrapper as KeyWrapper
    from lakemem.protocols import LongTermMemory as LongTermMemory
    from lakemem.protocols import Matcher as Matcher
    from lakemem.protocols import Redactor as Redactor
    from lakemem.protocols import Reranker as Reranker
    from lakemem.protocols import ShortTermMemory as ShortTermMemory
    from lakemem.protocols import WritePolicy as WritePolicy
    from lakemem.ranking import Ranking as Ranking
    from lakemem.recalling import Context as Context
    from lakemem.recalling import Recall as Recall
    from lakemem.redaction import PatternRedactor as PatternRedactor
    from lakemem.run_types import Run as Run
    from lakemem.run_types import RunEvent as RunEvent
    from lakemem.run_types import RunFailure as RunFailure
    from lakemem.run_types import RunStatus as RunStatus
    from lakemem.running.attempt import Attempt as Attempt
    from lakemem.running.runner import AsyncRunner as AsyncRunner
    from lakemem.target import Lakebase as Lakebase
    from lakemem.thread_types import Message as Message
    from lakemem.thread_types import ThreadHit as ThreadHit
    from lakemem.thread_types import ThreadInfo as ThreadInfo
    from lakemem.thread_types import TokenUsage as TokenUsage
    from lakemem.thread_types import Turn as Turn
    from lakemem.types import Credential as Credential
    from lakemem.types import Health as Health
    from lakemem.types import RequestContext as RequestContext
    from lakemem.windows import Window as Window
    from lakemem.windows import estimate_tokens as estimate_tokens
    from lakemem.work_types import Consolidated as Consolidated
    from lakemem.work_types import DeadJob as DeadJob
    from lakemem.work_types import Encrypted as Encrypted
    from lakemem.work_types import Imported as Imported
    from lakemem.work_types import Reembedded as Reembedded
    from lakemem.work_types import Retention as Retention
    from lakemem.work_types import Swept as Swept
    from lakemem.work_types import Worked as Worked


__version__ = "0.1.0"

_ROOMS = {
    "lakemem._async.files": ("AsyncFileMemory",),
    "lakemem._async.jobs": ("AsyncWorker",),
    "lakemem._async.keys": ("AsyncKeys",),
    "lakemem._async.memory": ("AsyncMemory",),
    "lakemem._async.on_behalf": ("AsyncOnBehalfOf",),
    "lakemem._async.quarantine": ("AsyncQuarantine",),
    "lakemem._async.runs": ("AsyncRuns",),
    "lakemem._async.scoped": ("AsyncScopedMemory",),
    "lakemem._async.threads": ("AsyncThread",),
    "lakemem._sync.files": ("FileMemory",),
    "lakemem._sync.jobs": ("Worker",),
    "lakemem._sync.keys": ("Keys",),
    "lakemem._sync.memory": ("Memory",),
    "lakemem._sync.on_behalf": ("OnBehalfOf",),
    "lakemem._sync.quarantine": ("Quarantine",),
    "lakemem._sync.runs": ("Runs",),
    "lakemem._sync.scoped": ("ScopedMemory",),
    "lakemem._sync.threads": ("Thread",),
    "lakemem.consolidation": ("Consolidation", "MatchPolicy"),
    "lakemem.context": ("resolve_context", "resolve_thread_id", "resolve_user_id"),
    "lakemem.credentials": ("CachedCredentials",),
    "lakemem.degradation": ("degrading",),
    "lakemem.embedding": ("CallableEmbedder",),
    "lakemem.encryption": ("Encryption", "MasterKeys"),
    "lakemem.errors": (
        "ConfigurationError",
        "ConflictError",
        "CredentialError",
        "CursorExpiredError",
        "DataKeyRetiredError",
        "DimensionMismatchError",
        "EmbedderUnavailableError",
        "EmbeddingError",
        "EncryptionError",
        "ErasedError",
        "ExtractionError",
        "GuardError",
        "IdentityError",
        "InvalidInputError",
        "LakememError",
        "LeaseLostError",
        "MatchingError",
        "MemoryNotFoundError",
        "MissingExtraError",
        "NotFoundError",
        "OnHoldError",
        "QueueFullError",
        "RunError",
        "RunNotFoundError",
        "SchemaError",
        "SchemaOutdatedError",
        "SchemaTooNewError",
        "StorageError",
        "StorageUnavailableError",
        "ThreadBusyError",
        "ThreadNotFoundError",
    ),
    "lakemem.extraction_types": ("Extraction", "KnownMemory", "Proposal", "SourceTurn"),
    "lakemem.file_memory.answers": ("FileAnswer",),
    "lakemem.forgetting": ("AuditEvent", "Erasure", "Hold"),
    "lakemem.guarding": ("Guard",),
    "lakemem.integrations.tools": ("create_memory_tools",),
    "lakemem.memory_types": (
        "DuplicatePolicy",
        "Explanation",
        "Hit",
        "MemoryRecord",
        "ProposedWrite",
        "QuarantinedWrite",
    ),
    "lakemem.protocols": (
        "AsyncLongTermMemory",
        "AsyncShortTermMemory",
        "CredentialProvider",
        "Embedder",
        "Extractor",
        "KeyWrapper",
        "LongTermMemory",
        "Matcher",
        "Redactor",
        "Reranker",
        "ShortTermMemory",
        "WritePolicy",
    ),
    "lakemem.ranking": ("Ranking",),
    "lakemem.recalling": ("Context", "Recall"),
    "lakemem.redaction": ("PatternRedactor",),
    "lakemem.run_types": ("Run", "RunEvent", "RunFailure", "RunStatus"),
    "lakemem.running.attempt": ("Attempt",),
    "lakemem.running.runner": ("AsyncRunner",),
    "lakemem.target": ("Lakebase",),
    "lakemem.thread_types": ("Message", "ThreadHit", "ThreadInfo", "TokenUsage", "Turn"),
    "lakemem.types": ("Credential", "Health", "RequestContext"),
    "lakemem.windows": ("Window", "estimate_tokens"),
    "lakemem.work_types": (
        "Consolidated",
        "DeadJob",
        "Encrypted",
        "Imported",
        "Reembedded",
        "Retention",
        "Swept",
        "Worked",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = tuple(_ROOM_OF)


def __getattr__(name: str) -> Any:
    """Load a public name at its first use, so that `import lakemem` costs next to nothing."""
    if room := _ROOM_OF.get(name):
        value = globals()[name] = getattr(import_module(room), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF})
