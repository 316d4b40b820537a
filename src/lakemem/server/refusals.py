"""Errors as answers: a status, and words without SQL, parameters or a stack."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from starlette.responses import JSONResponse

from lakemem.errors import (
    ConflictError,
    CursorExpiredError,
    IdentityError,
    InvalidInputError,
    LakememError,
    NotFoundError,
    QueueFullError,
    RunError,
    StorageError,
    ThreadBusyError,
)
from lakemem.server.shapes import error_body

logger = logging.getLogger("lakemem")

RETRY_AFTER_OUTAGE = 1
"""Seconds after which to try again when the database is away."""

_OF_RUNS = {"invalid_request": 400, "user_token_required": 401}
"""The status for who has waited for a run that failed, by the code of the failure; 500 for all others."""

_NO_RETRY = {"x-should-retry": "false"}
"""The `openai` client sends a request again by itself after most errors, and so would run an agent once more."""


def refused(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse(error_body(message, code=code, type=kind), status, headers)


def not_found() -> JSONResponse:
    return refused(404, "there is no such response", "response_not_found")


def failed(error: Mapping[str, str], headers: dict[str, str]) -> JSONResponse:
    """The answer to who has waited for a run that failed."""
    status = _OF_RUNS.get(error["code"], 500)
    return refused(status, error["message"], error["code"], {**headers, **_NO_RETRY})


def interrupted(message: str, headers: dict[str, str]) -> JSONResponse:
    """The answer to who waits for a run while the server stops."""
    return refused(503, message, "server_stopping", {**headers, **_NO_RETRY})


def refusal(error: Exception) -> JSONResponse:
    """What a client is told of an error."""
    match error:
        case InvalidInputError():
            return refused(400, str(error), "invalid_request")
        case IdentityError():
            return refused(401, str(error), "unauthorized", {"www-authenticate": "Bearer"})
        case NotFoundError():
            return not_found()
        case QueueFullError():
            return refused(429, str(error), error.code, {"retry-after": str(math.ceil(error.retry_after))})
        case ThreadBusyError():
            return refused(409, str(error), error.code, _NO_RETRY)
        case CursorExpiredError():
            return refused(410, str(error), error.code)
        case RunError():
            return refused(409, str(error), error.code, _NO_RETRY)
        case ConflictError():
            return refused(409, str(error), "conflict", _NO_RETRY)
        case StorageError() if error.retryable:
            message = "the database cannot be reached: try again in a moment"
            return refused(503, message, "storage_unavailable", {"retry-after": str(RETRY_AFTER_OUTAGE)})
        case _:
            logger.error("a request failed: %s", type(error).__name__, exc_info=_unless_foreign(error))
            return refused(500, "the server failed", "server_error")


def _unless_foreign(error: Exception) -> Exception | None:
    """The stack of our own errors: the words of a foreign one may hold a token, or what a user said."""
    return error if isinstance(error, LakememError) else None
