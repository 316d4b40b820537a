"""Every error that lakemem raises.

::

    LakememError
    ├── InvalidInputError (also a ValueError)   the caller's argument; nothing was written
    ├── ConfigurationError                      settings that are missing or contradict each other
    │   └── MissingExtraError (also an ImportError)
    ├── IdentityError                           no verified user; the call fails closed
    ├── CredentialError                         no database token
    ├── StorageError                            Postgres refused
    │   ├── StorageUnavailableError             Postgres cannot be reached, or not in time
    │   ├── OnHoldError                         a legal hold lets nothing be removed
    │   └── ConflictError                       someone else changed the same thing first
    │       ├── DataKeyRetiredError             the key of an encrypted write was replaced or dropped
    │       ├── ErasedError                     all of its owner was erased since the write was accepted
    │       └── LeaseLostError                  another worker has taken the job
    ├── SchemaError
    │   ├── SchemaOutdatedError                 run `lakemem migrate`
    │   └── SchemaTooNewError                   upgrade lakemem
    ├── EmbeddingError                          the embedder returned something that is not a vector
    │   ├── DimensionMismatchError
    │   └── EmbedderUnavailableError            the embedder failed, or was late
    ├── ExtractionError                         the extractor failed, was late, or returned no list of facts
    ├── GuardError                              a redactor or a policy failed; nothing was written
    ├── EncryptionError                         something does not open, or a key is missing
    ├── RunError                                a run failed, or cannot do what is asked of it
    │   ├── CursorExpiredError                  events that are asked for have been swept
    │   ├── QueueFullError                      too many runs are queued: try again later
    │   └── ThreadBusyError                     the thread has a run under way
    └── NotFoundError
        ├── MemoryNotFoundError
        ├── RunNotFoundError
        └── ThreadNotFoundError

A message says what happened and what to do. No message holds a token, a password or a stored text.
"""

from __future__ import annotations


class LakememError(Exception):
    """The base of all errors of this package."""


class InvalidInputError(LakememError, ValueError):
    """An argument cannot be stored or looked up as it is. Nothing was written."""


class ConfigurationError(LakememError):
    """Settings are missing, incomplete, or contradict each other. The message names them."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed.

    Attributes:
        extra: the name of the extra that brings it, as in ``pip install "lakemem[extra]"``.
    """

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs an extra: pip install "lakemem[{extra}]"')
        self.extra = extra


class IdentityError(LakememError):
    """The user of a request is not verified, so no memory is opened for it."""


class CredentialError(LakememError):
    """A database token could not be had.

    Attributes:
        retryable: whether the same call may succeed later.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class StorageError(LakememError):
    """Postgres refused a statement.

    Attributes:
        retryable: whether the same call may succeed when it is made again.
        sqlstate: the five-character code of Postgres, or None where the connection itself failed.
    """

    def __init__(self, message: str, *, retryable: bool = False, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.sqlstate = sqlstate


class StorageUnavailableError(StorageError):
    """Postgres cannot be reached, is shutting down, or did not answer in time."""

    def __init__(self, message: str, *, retryable: bool = True, sqlstate: str | None = None) -> None:
        super().__init__(message, retryable=retryable, sqlstate=sqlstate)


class OnHoldError(StorageError):
    """A legal hold lets nothing of this owner be removed. Nothing was."""


class ConflictError(StorageError):
    """Another writer changed the same thing first."""


class ErasedError(ConflictError):
    """All of its owner was erased after this write was accepted, and before it was stored. Nothing was written."""


class DataKeyRetiredError(ConflictError):
    """The key that a write was sealed with is not its owner's any more. Nothing was written."""


class LeaseLostError(ConflictError):
    """A worker held a job or a run for longer than its lease, and another one has taken it. Nothing was written."""


class SchemaError(LakememError):
    """The tables are not those that this version of lakemem works with."""


class SchemaOutdatedError(SchemaError):
    """Tables are missing or old: run ``lakemem migrate``, or ``setup()`` on the memory."""


class SchemaTooNewError(SchemaError):
    """The tables were made by a newer lakemem: upgrade the package."""


class EmbeddingError(LakememError):
    """The embedder returned something that is not a vector of finite numbers."""


class DimensionMismatchError(EmbeddingError):
    """The embedder returned vectors of another length than it announced."""


class EmbedderUnavailableError(EmbeddingError):
    """The embedder failed, or was late. Search goes on with words alone, and saving without a vector."""


class ExtractionError(LakememError):
    """The extractor failed, was late, or returned something that is not a list of facts.

    Attributes:
        error: the name of the class of what it failed with.
    """

    def __init__(self, message: str, *, error: str = "ExtractionError") -> None:
        super().__init__(message)
        self.error = error


class MatchingError(LakememError):
    """A matcher failed, was late, or returned something that is not a list of pairs.

    Attributes:
        error: the name of the class of what it failed with.
    """

    def __init__(self, message: str, *, error: str = "MatchingError") -> None:
        super().__init__(message)
        self.error = error


class GuardError(LakememError):
    """A redactor or a policy failed, or was late, so that nobody knows what may be stored. Nothing was written."""


class EncryptionError(LakememError):
    """Something that is stored does not open, or the key to it is missing or was dropped."""


class RunError(LakememError):
    """A run failed, or cannot do what is asked of it.

    Raised by a handler, it ends the run at once, without another attempt; its message is shown to the client.

    Attributes:
        code: what a program tells it by.
    """

    def __init__(self, message: str, *, code: str = "run_failed") -> None:
        super().__init__(message)
        self.code = code


class CursorExpiredError(RunError):
    """The events that are asked for have been swept. What the run returned may still be there."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="cursor_expired")


class QueueFullError(RunError):
    """Too many runs are queued. Nothing was written.

    Attributes:
        retry_after: seconds after which to try again.
    """

    def __init__(self, message: str, *, retry_after: float = 5.0) -> None:
        super().__init__(message, code="queue_full")
        self.retry_after = retry_after


class ThreadBusyError(RunError):
    """The thread has a run under way, and the new one was not to wait for it. Nothing was written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="thread_busy")


class NotFoundError(LakememError):
    """There is no such thing, or it belongs to somebody else: the two cannot be told apart."""


class MemoryNotFoundError(NotFoundError):
    """There is no memory under this key."""


class RunNotFoundError(NotFoundError):
    """This user has no such run."""


class ThreadNotFoundError(NotFoundError):
    """This user has no such thread."""
