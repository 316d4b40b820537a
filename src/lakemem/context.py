"""From a request to a thread id and a user id. Pure: no database, no framework."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from lakemem.errors import ConfigurationError, IdentityError, InvalidInputError
from lakemem.target import is_deployed
from lakemem.types import RequestContext
from lakemem.validation import check_identifier

LOCAL_USER = "local-user"
"""The user of a request that names none, on a machine that is not a deployed app."""

TOKEN_HEADER = "x-forwarded-access-token"  # noqa: S105 - the name of a header

Identify = Callable[[str], str]


def resolve_thread_id(custom_inputs: Mapping[str, Any] | None = None, conversation_id: str | None = None) -> str:
    """Return the thread of a request: custom_inputs' thread_id (or session_id), else the conversation, else new.

    Raises:
        InvalidInputError: the id given is not a string that can name a thread.
    """
    inputs = _mapping("custom_inputs", custom_inputs)
    for name, candidate in (
        ("custom_inputs.thread_id", inputs.get("thread_id")),
        ("custom_inputs.session_id", inputs.get("session_id")),
        ("conversation_id", conversation_id),
    ):
        if candidate is not None and candidate != "":
            return check_identifier(name, candidate)
    return str(uuid.uuid4())


def resolve_user_id(
    custom_inputs: Mapping[str, Any] | None = None,
    user_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    identify: Identify | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Return the user of a request.

    In a deployed app (``DATABRICKS_APP_NAME`` is set) only the identity behind the forwarded access token
    counts; what the client claims is ignored. Elsewhere the claim is taken: custom_inputs.user_id, else
    `user_id`, else ``"local-user"``.

    Args:
        identify: turns a forwarded access token into the user's id by asking the issuer; it raises when the
            token is not valid. Where it is given and the header is there, it decides, deployed or not.

    Raises:
        IdentityError: deployed, and no verified user.
    """
    environ = os.environ if environ is None else environ
    token = _header(headers, TOKEN_HEADER)
    if token and identify is not None:
        return identified_user(identify, token)
    if is_deployed(environ):
        raise IdentityError(_why_not_verified(token))
    claimed = _mapping("custom_inputs", custom_inputs).get("user_id")
    for name, candidate in (("custom_inputs.user_id", claimed), ("user_id", user_id)):
        if candidate is not None and candidate != "":
            return check_identifier(name, candidate)
    return LOCAL_USER


def forwarded_token(headers: Mapping[str, str]) -> str:
    """Return the access token that the platform forwards for the user of a request.

    Raises:
        IdentityError: there is none.
    """
    token = _header(headers, TOKEN_HEADER)
    if not token:
        raise IdentityError(
            "the request has no X-Forwarded-Access-Token: turn on user authorization for the app, and sign in"
        )
    return token


def identified_user(identify: Identify, token: str) -> str:
    """Return the user's id that `identify` gives for a token.

    Raises:
        IdentityError: it does not vouch for the token.
    """
    try:
        return check_identifier("the identified user", identify(token))
    except (IdentityError, ConfigurationError):
        raise
    except Exception as error:
        # The words of a foreign error may hold the token.
        raise IdentityError(
            f"the forwarded access token was not accepted ({type(error).__name__}): sign in again"
        ) from None


def resolve_context(
    request: Any,
    headers: Mapping[str, str] | None = None,
    *,
    body: Mapping[str, Any] | None = None,
    identify: Identify | None = None,
    environ: Mapping[str, str] | None = None,
) -> RequestContext:
    """Return the thread and the user of a request.

    Args:
        request: a dict; an mlflow ``ResponsesAgentRequest``; or a FastAPI or Starlette ``Request``.
        headers: the HTTP headers, where the request does not carry them itself.
        body: the parsed JSON body of a FastAPI or Starlette request (``await request.json()``).
        identify: see :func:`resolve_user_id`.

    Raises:
        IdentityError: deployed, and no verified user.
        InvalidInputError: an id in the request cannot be used.
        ConfigurationError: an HTTP request came without its body.
    """
    fields: Mapping[str, Any]
    if _is_http(request):
        headers = request.headers if headers is None else headers
        fields = {**request.query_params, **request.path_params, **_body_of(request, body)}
    else:
        fields = _fields(request)
    conversation = _mapping("context", fields.get("context"))
    custom_inputs = fields.get("custom_inputs")
    if _is_http(request) and custom_inputs is None:
        custom_inputs = {name: fields[name] for name in ("thread_id", "session_id") if name in fields}
    return RequestContext(
        thread_id=resolve_thread_id(custom_inputs, conversation.get("conversation_id") or _conversation(fields)),
        user_id=resolve_user_id(
            custom_inputs, conversation.get("user_id"), headers, identify=identify, environ=environ
        ),
    )


def _why_not_verified(token: str | None) -> str:
    if token:
        return (
            "this app is deployed (DATABRICKS_APP_NAME is set) and cannot verify its users: "
            "pass identify=, a function from the forwarded access token to the user's id"
        )
    return (
        "this app is deployed (DATABRICKS_APP_NAME is set) and the request has no X-Forwarded-Access-Token: "
        "turn on user authorization for the app; a user id that the client claims is not taken"
    )


def _is_http(request: Any) -> bool:
    return hasattr(request, "headers") and hasattr(request, "query_params") and hasattr(request, "path_params")


def _body_of(request: Any, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if body is not None:
        return _mapping("body", body)
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise ConfigurationError(
            "the request has a body that names its thread: call resolve_context(request, body=await request.json())"
        )
    return {}


def _fields(request: Any) -> Mapping[str, Any]:
    if isinstance(request, Mapping):
        return request
    if hasattr(request, "custom_inputs") or hasattr(request, "context"):
        return {name: getattr(request, name, None) for name in ("custom_inputs", "context")}
    raise InvalidInputError(
        f"cannot read a thread or a user from {type(request).__name__}: "
        "pass a dict, a ResponsesAgentRequest, or a FastAPI request"
    )


def _conversation(fields: Mapping[str, Any]) -> Any:
    """The conversation of a plain dict, or of an OpenAI Responses request ({"conversation": {"id": ...}})."""
    conversation = fields.get("conversation_id") or fields.get("conversation")
    return conversation.get("id") if isinstance(conversation, Mapping) else conversation


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "model_dump"):
        dumped: Mapping[str, Any] = value.model_dump()
        return dumped
    raise InvalidInputError(f"{name} must be a mapping, not {type(value).__name__}")


def _header(headers: Mapping[str, str] | None, name: str) -> str | None:
    if headers is None:
        return None
    return next((value for key, value in headers.items() if key.lower() == name), None) or None
