"""From a request to whose it is and which conversation it continues."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from mlflow.types.responses import ResponsesAgentRequest

from lakemem import (
    ConfigurationError,
    IdentityError,
    InvalidInputError,
    RequestContext,
    resolve_context,
    resolve_thread_id,
    resolve_user_id,
)

LOCAL: dict[str, str] = {}
DEPLOYED = {"DATABRICKS_APP_NAME": "assistant"}
TOKEN = "eyJ-secret-token"
FORWARDED = {"X-Forwarded-Access-Token": TOKEN}


def identify(token: str) -> str:
    """The issuer of TOKEN."""
    if token != TOKEN:
        raise PermissionError(f"no such token: {token}")
    return "ada@example.com"


def is_new(thread_id: str) -> bool:
    return uuid.UUID(thread_id).version == 4


# --- the thread


@pytest.mark.parametrize(
    ("custom_inputs", "conversation_id", "expected"),
    [
        ({"thread_id": "t", "session_id": "s"}, "c", "t"),
        ({"session_id": "s"}, "c", "s"),
        ({}, "c", "c"),
        (None, "c", "c"),
        ({"thread_id": None, "session_id": ""}, "c", "c"),
        ({"thread_id": "", "session_id": "s"}, None, "s"),
        (MappingProxyType({"thread_id": "Grüße 你好 🦆"}), None, "Grüße 你好 🦆"),
    ],
)
def test_the_thread_is_the_first_that_is_named(
    custom_inputs: Mapping[str, Any] | None, conversation_id: str | None, expected: str
) -> None:
    assert resolve_thread_id(custom_inputs, conversation_id) == expected


@pytest.mark.parametrize("custom_inputs", [None, {}, {"thread_id": None}, {"thread_id": ""}])
def test_a_request_that_names_no_thread_begins_a_new_one(custom_inputs: Mapping[str, Any] | None) -> None:
    first, second = resolve_thread_id(custom_inputs), resolve_thread_id(custom_inputs, "")
    assert is_new(first)
    assert is_new(second)
    assert first != second


@pytest.mark.parametrize("bad", [7, 0, True, 1.5, b"t", ["t"], {"id": "t"}, " ", "t\n", "t\x00", "x" * 256, "\ud83e"])
def test_an_id_that_cannot_name_a_thread_is_refused_by_its_place(bad: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"custom_inputs\.thread_id"):
        resolve_thread_id({"thread_id": bad}, "c")
    with pytest.raises(InvalidInputError, match=r"custom_inputs\.session_id"):
        resolve_thread_id({"session_id": bad}, "c")
    with pytest.raises(InvalidInputError, match="conversation_id"):
        resolve_thread_id(None, bad)


@pytest.mark.parametrize("bad", ["t", ["thread_id"], 7])
def test_custom_inputs_are_a_mapping(bad: Any) -> None:
    with pytest.raises(InvalidInputError, match="custom_inputs must be a mapping"):
        resolve_thread_id(bad)
    with pytest.raises(InvalidInputError, match="custom_inputs must be a mapping"):
        resolve_user_id(bad, environ=LOCAL)


# --- the user


@pytest.mark.parametrize(
    ("custom_inputs", "user_id", "expected"),
    [
        ({"user_id": "inputs"}, "argument", "inputs"),
        ({"user_id": ""}, "argument", "argument"),
        (None, "Ünïcödé 用户", "Ünïcödé 用户"),
        (None, None, "local-user"),
        ({}, "", "local-user"),
    ],
)
def test_on_a_laptop_the_user_is_who_the_request_says(
    custom_inputs: Mapping[str, Any] | None, user_id: str | None, expected: str
) -> None:
    assert resolve_user_id(custom_inputs, user_id, environ=LOCAL) == expected
    assert resolve_user_id(custom_inputs, user_id, {}, environ={"DATABRICKS_APP_NAME": ""}) == expected


@pytest.mark.parametrize("bad", [7, ["ada"], " ", "ada\n", "x" * 256])
def test_an_id_that_cannot_name_a_user_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"custom_inputs\.user_id"):
        resolve_user_id({"user_id": bad}, environ=LOCAL)
    with pytest.raises(InvalidInputError, match="user_id"):
        resolve_user_id(None, bad, environ=LOCAL)


@pytest.mark.parametrize("environ", [LOCAL, DEPLOYED])
@pytest.mark.parametrize("name", ["X-Forwarded-Access-Token", "x-forwarded-access-token", "X-FORWARDED-ACCESS-TOKEN"])
def test_the_user_behind_a_forwarded_token_goes_before_any_claim(environ: dict[str, str], name: str) -> None:
    claim = {"user_id": "mallory"}
    assert resolve_user_id(claim, "mallory", {name: TOKEN}, identify=identify, environ=environ) == "ada@example.com"


@pytest.mark.parametrize("claim", [{"user_id": "mallory"}, None])
@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        {"X-Forwarded-Access-Token": ""},
        {"X-Forwarded-User": "mallory", "X-Forwarded-Email": "mallory@example.com"},
        {"Authorization": f"Bearer {TOKEN}"},
    ],
)
@pytest.mark.parametrize("asks_issuer", [True, False])
def test_deployed_a_request_without_a_token_is_nobodys(
    claim: dict[str, str] | None, headers: dict[str, str] | None, asks_issuer: bool
) -> None:
    with pytest.raises(IdentityError, match="no X-Forwarded-Access-Token"):
        resolve_user_id(claim, "mallory", headers, identify=identify if asks_issuer else None, environ=DEPLOYED)


def test_deployed_a_token_that_nobody_verifies_is_nobodys() -> None:
    with pytest.raises(IdentityError, match="pass identify=") as caught:
        resolve_user_id({"user_id": "mallory"}, "mallory", FORWARDED, environ=DEPLOYED)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("environ", [LOCAL, DEPLOYED])
def test_a_token_that_is_not_accepted_is_nobodys_and_stays_unsaid(environ: dict[str, str]) -> None:
    forged = {"X-Forwarded-Access-Token": "forged-token"}
    with pytest.raises(IdentityError, match="not accepted") as caught:
        resolve_user_id({"user_id": "mallory"}, "mallory", forged, identify=identify, environ=environ)
    assert "forged-token" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("answer", [None, "", " ", 7, b"ada", ["ada"], "x" * 256])
def test_an_issuer_that_names_nobody_is_not_taken_at_its_word(answer: Any) -> None:
    with pytest.raises(IdentityError):
        resolve_user_id({"user_id": "mallory"}, None, FORWARDED, identify=lambda token: answer, environ=DEPLOYED)


def test_the_environment_of_the_process_says_whether_it_is_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_APP_NAME", "assistant")
    with pytest.raises(IdentityError):
        resolve_user_id({"user_id": "ada"})
    with pytest.raises(IdentityError):
        resolve_context({"custom_inputs": {"user_id": "ada"}})
    monkeypatch.delenv("DATABRICKS_APP_NAME")
    assert resolve_user_id({"user_id": "ada"}) == "ada"


# --- plain dicts


@pytest.mark.parametrize(
    ("request_", "thread_id", "user_id"),
    [
        (
            {"custom_inputs": {"thread_id": "t", "user_id": "u"}, "context": {"conversation_id": "c", "user_id": "v"}},
            "t",
            "u",
        ),
        ({"custom_inputs": {"session_id": "s"}, "context": {"conversation_id": "c", "user_id": "v"}}, "s", "v"),
        ({"context": {"conversation_id": "c", "user_id": "v"}, "conversation_id": "d"}, "c", "v"),
        ({"input": "Hello", "conversation_id": "d"}, "d", "local-user"),
        ({"input": "Hello", "conversation": "d"}, "d", "local-user"),
        ({"input": "Hello", "conversation": {"id": "d"}}, "d", "local-user"),
    ],
)
def test_a_dict_says_thread_and_user(request_: dict[str, Any], thread_id: str, user_id: str) -> None:
    assert resolve_context(request_, environ=LOCAL) == RequestContext(thread_id, user_id)


@pytest.mark.parametrize("request_", [{}, {"input": "Hello"}, {"custom_inputs": None, "context": None}])
def test_a_dict_that_says_neither_begins_a_thread_of_the_local_user(request_: dict[str, Any]) -> None:
    context = resolve_context(request_, environ=LOCAL)
    assert is_new(context.thread_id)
    assert context.user_id == "local-user"


def test_the_thread_is_echoed_so_that_the_next_request_continues_it() -> None:
    first = resolve_context({"input": "Hello"}, environ=LOCAL)
    assert first.custom_outputs == {"thread_id": first.thread_id}
    second = resolve_context({"input": "Hello again", "custom_inputs": first.custom_outputs}, environ=LOCAL)
    assert second.thread_id == first.thread_id


def test_headers_given_beside_a_dict_verify_its_user() -> None:
    claim = {"custom_inputs": {"user_id": "mallory", "thread_id": "t"}}
    context = resolve_context(claim, FORWARDED, identify=identify, environ=DEPLOYED)
    assert context == RequestContext("t", "ada@example.com")
    with pytest.raises(IdentityError):
        resolve_context(claim, {}, identify=identify, environ=DEPLOYED)


@pytest.mark.parametrize("request_", [None, "Hello", 7, ["Hello"], object()])
def test_what_is_not_a_request_is_refused(request_: Any) -> None:
    with pytest.raises(InvalidInputError, match=type(request_).__name__):
        resolve_context(request_, environ=LOCAL)


@pytest.mark.parametrize("request_", [{"context": "c"}, {"custom_inputs": "t"}, {"context": {"conversation_id": 7}}])
def test_a_dict_of_wrong_types_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        resolve_context(request_, environ=LOCAL)


# --- mlflow


def agent_request(**fields: Any) -> ResponsesAgentRequest:
    return ResponsesAgentRequest(input=[{"role": "user", "content": "Hello"}], **fields)


def test_a_request_of_mlflow_says_thread_and_user() -> None:
    context = {"conversation_id": "c", "user_id": "v"}
    assert resolve_context(agent_request(context=context), environ=LOCAL) == RequestContext("c", "v")
    inputs = {"thread_id": "t", "user_id": "u"}
    both = agent_request(context=context, custom_inputs=inputs)
    assert resolve_context(both, environ=LOCAL) == RequestContext("t", "u")
    neither = resolve_context(agent_request(), environ=LOCAL)
    assert is_new(neither.thread_id)
    assert neither.user_id == "local-user"


def test_deployed_the_claims_of_a_request_of_mlflow_do_not_count() -> None:
    request = agent_request(context={"user_id": "mallory"}, custom_inputs={"user_id": "mallory", "thread_id": "t"})
    with pytest.raises(IdentityError):
        resolve_context(request, environ=DEPLOYED)
    verified = resolve_context(request, FORWARDED, identify=identify, environ=DEPLOYED)
    assert verified == RequestContext("t", "ada@example.com")


# --- FastAPI and Starlette


async def over_http(
    method: str, url: str, *, json: Any = None, headers: dict[str, str] | None = None, environ: dict[str, str] = LOCAL
) -> RequestContext:
    """What a FastAPI app makes of a real request."""
    app = FastAPI()
    resolved: list[RequestContext] = []

    @app.api_route("/threads/{thread_id}", methods=["GET", "POST"])
    @app.api_route("/", methods=["GET", "POST"])
    async def handle(request: Request) -> dict[str, str]:
        body = await request.json() if await request.body() else None
        resolved.append(resolve_context(request, body=body, identify=identify, environ=environ))
        return resolved[0].custom_outputs

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        response = await client.request(method, url, json=json, headers=headers)
    assert response.json() == resolved[0].custom_outputs
    return resolved[0]


async def test_the_body_of_an_http_request_says_thread_and_user() -> None:
    body = {"custom_inputs": {"thread_id": "t", "user_id": "u"}, "context": {"conversation_id": "c"}}
    assert await over_http("POST", "/", json=body) == RequestContext("t", "u")
    assert await over_http("POST", "/", json={"context": {"conversation_id": "你好"}}) == RequestContext(
        "你好", "local-user"
    )


async def test_the_address_of_an_http_request_says_the_thread() -> None:
    assert (await over_http("GET", "/threads/t")).thread_id == "t"
    assert (await over_http("GET", "/?thread_id=t")).thread_id == "t"
    assert (await over_http("GET", "/?session_id=s")).thread_id == "s"
    assert (await over_http("GET", "/?conversation_id=c")).thread_id == "c"
    assert is_new((await over_http("GET", "/")).thread_id)


async def test_a_user_in_the_address_is_not_taken() -> None:
    assert (await over_http("GET", "/?user_id=mallory")).user_id == "local-user"


async def test_deployed_only_the_token_of_an_http_request_counts() -> None:
    claims = {"custom_inputs": {"user_id": "mallory", "thread_id": "t"}}
    context = await over_http("POST", "/", json=claims, headers=FORWARDED, environ=DEPLOYED)
    assert context == RequestContext("t", "ada@example.com")
    for headers in ({}, {"X-Forwarded-User": "mallory"}, {"X-Forwarded-Access-Token": "forged"}):
        with pytest.raises(IdentityError):
            await over_http("POST", "/", json=claims, headers=headers, environ=DEPLOYED)


async def test_an_http_request_without_its_body_is_a_mistake_of_the_program() -> None:
    app = FastAPI()

    @app.post("/")
    async def handle(request: Request) -> None:
        with pytest.raises(ConfigurationError, match=r"body=await request\.json\(\)"):
            resolve_context(request, environ=LOCAL)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app.example") as client:
        assert (await client.post("/", json={"custom_inputs": {"thread_id": "t"}})).status_code == 200


@pytest.mark.parametrize("body", [[], "t", 7])
async def test_a_body_that_is_not_an_object_is_refused(body: Any) -> None:
    with pytest.raises(InvalidInputError):
        await over_http("POST", "/", json=body)
