"""What the routes answer, by plain HTTP over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import psycopg
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from lakemem import AsyncMemory, ConfigurationError, Lakebase, StorageUnavailableError
from lakemem.operations.runs import owner_of
from lakemem.server import create_app
from tests.conftest import connect
from tests.server.conftest import Serve, greets, said, text_of


class Gate:
    """An agent that goes through its gate when it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.entered: list[str] = []
        self.cancelled: list[str] = []

    async def __call__(self, request: dict[str, Any]) -> str:
        self.entered.append(said(request))
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(said(request))
            raise
        return f"through: {said(request)}"

    async def has_entered(self, count: int = 1) -> None:
        async with asyncio.timeout(30):
            while len(self.entered) < count:
                await asyncio.sleep(0.005)


def of(user: str) -> dict[str, str]:
    return {"x-forwarded-access-token": f"token of {user}"}


def identify(token: str) -> str:
    if not token.startswith("token of "):
        raise ValueError(token)
    return token.removeprefix("token of ")


# A run by its id.


async def test_a_run_that_is_under_way(serve: Serve) -> None:
    gate = Gate()
    async with serve(gate) as served:
        begun = (await served.ask(background=True)).json()
        await gate.has_entered()
        now = (await served.http.get(f"/responses/{begun['id']}")).json()
        assert (now["status"], now["output"], now["attempt_number"]) == ("in_progress", [], 1)
        gate.open.set()
        assert text_of(await served.ended(begun["id"])) == "through: Hello"


async def test_the_first_event_comes_while_the_agent_still_thinks(serve: Serve) -> None:
    gate = Gate()

    async def thinks(request: dict[str, Any]) -> AsyncIterator[str]:
        yield "Well "
        yield await gate(request)

    async with (
        serve(thinks, keep_alive=0.05) as served,
        served.http.stream("POST", "/responses", json={"input": "Hello", "stream": True}) as answer,
    ):
        lines = answer.aiter_lines()
        async with asyncio.timeout(10):
            seen: list[str] = []
            while ": keep-alive" not in seen or not any("data: " in line for line in seen):
                seen.append(await anext(lines))
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert f'"id": "{answer.headers["x-response-id"]}"'.replace(" ", "") in "".join(seen).replace(" ", "")
        gate.open.set()
        rest = [line async for line in lines]
        assert rest[-2:] == ["data: [DONE]", ""]


async def test_keep_alives_do_not_disturb_the_openai_client(serve: Serve) -> None:
    async def slow(request: dict[str, Any]) -> AsyncIterator[str]:
        for word in ("a ", "b ", "c "):
            yield word
            await asyncio.sleep(0.1)

    async with serve(slow, keep_alive=0.02) as served:
        events = [event async for event in await served.openai.responses.create(input="Hello", stream=True)]
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "a b c "


async def test_a_browser_that_connects_anew(serve: Serve) -> None:
    async with serve(greets) as served:
        response_id = (await served.ask()).json()["id"]
        as_source = {"accept": "text/event-stream"}
        whole = await served.events("GET", f"/responses/{response_id}", headers=as_source)
        anew = {**as_source, "last-event-id": "3"}
        rest = await served.events("GET", f"/responses/{response_id}?starting_after=0", headers=anew)
        assert rest == whole[4:]


async def test_starting_after_0_means_after_the_first_event(serve: Serve) -> None:
    async with serve(greets) as served:
        response_id = (await served.ask()).json()["id"]
        path = f"/responses/{response_id}?stream=true&starting_after="
        numbers = [event["sequence_number"] for event in await served.events("GET", f"{path}0")]
        assert numbers[0] == 1
        assert [event["sequence_number"] for event in await served.events("GET", f"{path}-1")] == [0, *numbers]


REFUSALS = [
    ("GET", "/responses/resp_none", 404, "response_not_found"),
    ("GET", "/responses/resp_none?stream=true", 404, "response_not_found"),
    ("GET", "/responses/resp_none/input_items", 404, "response_not_found"),
    ("POST", "/responses/resp_none/cancel", 404, "response_not_found"),
    ("DELETE", "/responses/resp_none", 404, "response_not_found"),
    ("GET", "/responses/{id}?stream=true&starting_after=-2", 400, "invalid_request"),
    ("GET", "/responses/{id}?stream=true&starting_after=x", 400, "invalid_request"),
    ("GET", "/responses/{id}?starting_after=3", 400, "invalid_request"),
    ("GET", "/responses/{id}/input_items?limit=0", 400, "invalid_request"),
    ("GET", "/responses/{id}/input_items?order=up", 400, "invalid_request"),
]


async def test_refusals(serve: Serve) -> None:
    async with serve(greets) as served:
        response_id = (await served.ask()).json()["id"]
        for method, path, status, code in REFUSALS:
            answer = await served.http.request(method, path.replace("{id}", response_id))
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), path


async def test_requests_that_are_refused_make_no_run(serve: Serve) -> None:
    async with serve(greets) as served:
        for body in (b"{", b"[]", b"{}", b'{"input": "x", "stream": 1}'):
            answer = await served.http.post("/responses", content=body)
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), body
        with pytest.raises(openai.BadRequestError, match="input must be"):
            await served.openai.responses.create(background=True)
        assert await served.memory.for_user("local-user").runs.list() == []


async def test_the_input_of_a_run(serve: Serve) -> None:
    items = [{"role": "user", "content": str(number)} for number in range(5)]
    async with serve(greets) as served:
        response_id = (await served.ask(items)).json()["id"]
        listed = [item async for item in served.openai.responses.input_items.list(response_id, limit=2, order="asc")]
        assert [item.content for item in listed] == ["0", "1", "2", "3", "4"]  # type: ignore[union-attr]
        page = (await served.http.get(f"/responses/{response_id}/input_items?limit=2")).json()
        assert [item["content"] for item in page["data"]] == ["4", "3"]
        assert (page["object"], page["has_more"], page["last_id"]) == ("list", True, page["data"][-1]["id"])


async def test_deleting_a_run(serve: Serve) -> None:
    gate = Gate()
    async with serve(gate) as served:
        response_id = (await served.ask(background=True)).json()["id"]
        await gate.has_entered()
        deleted = await served.http.delete(f"/responses/{response_id}")
        assert deleted.json() == {"id": response_id, "object": "response", "deleted": True}
        assert (await served.http.get(f"/responses/{response_id}")).status_code == 404
        assert (await served.http.delete(f"/responses/{response_id}")).status_code == 404


async def test_health(serve: Serve) -> None:
    async with serve(greets) as served:
        answer = await served.http.get("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "memory": "ok"})
        await served.app.state.service.stop()
        assert (await served.http.get("/health")).status_code == 503


# Cancelling.


async def test_cancelling_what_is_under_way_and_what_waits(serve: Serve) -> None:
    gate = Gate()
    async with serve(gate, concurrency=1) as served:
        first, second = [(await served.ask(text, background=True)).json()["id"] for text in ("a", "b")]
        await gate.has_entered()
        for response_id in (second, first, first):
            cancelled = await served.openai.responses.cancel(response_id)
            assert (cancelled.id, cancelled.status) == (response_id, "cancelled")
        assert (gate.entered, gate.cancelled) == (["a"], ["a"])


async def test_a_cancelled_stream_ends_without_an_event(serve: Serve) -> None:
    gate = Gate()

    async def speaks(request: dict[str, Any]) -> AsyncIterator[str]:
        yield "Well "
        yield await gate(request)

    async with serve(speaks) as served:
        response_id = (await served.ask(background=True, stream=False)).json()["id"]
        tail = asyncio.ensure_future(served.events("GET", f"/responses/{response_id}?stream=true"))
        await gate.has_entered()
        await served.http.post(f"/responses/{response_id}/cancel")
        kinds = [event["type"] for event in await tail]
        assert kinds[0] == "response.created"
        assert not {"response.completed", "response.failed", "error"} & set(kinds)


async def test_what_has_ended_stays_as_it_is(serve: Serve) -> None:
    async with serve(greets) as served:
        done = (await served.ask()).json()
        assert (await served.http.post(f"/responses/{done['id']}/cancel")).json() == done


# Conversations.


async def test_a_conversation_goes_on(serve: Serve) -> None:
    async with serve(greets) as served:
        first = (await served.ask(conversation="monday")).json()
        assert (first["conversation"], first["custom_outputs"]) == ({"id": "monday"}, {"thread_id": "monday"})
        second = (await served.ask(previous_response_id=first["id"])).json()
        assert (second["conversation"]["id"], second["previous_response_id"]) == ("monday", first["id"])
        third = (await served.ask(custom_inputs={"thread_id": "monday"})).json()
        assert third["conversation"]["id"] == "monday"
        new = [(await served.ask()).json()["conversation"]["id"] for _ in range(2)]
        assert len({*new, "monday"}) == 3
        elsewhere = await served.ask(previous_response_id=first["id"], custom_inputs={"thread_id": "tuesday"})
        unknown = await served.ask(previous_response_id="resp_none")
        assert (elsewhere.status_code, unknown.status_code) == (400, 400)


async def test_the_agent_knows_its_thread_also_where_the_request_names_none(serve: Serve) -> None:
    async def tells(request: dict[str, Any], run: Any) -> str:
        return f"{request['custom_inputs']['thread_id']} {run.thread_id} {run.run_id} {run.user_id} {run.attempt}"

    async with serve(tells) as served:
        answer = (await served.ask(context={"user_id": "ada"})).json()
        thread = answer["conversation"]["id"]
        assert text_of(answer) == f"{thread} {thread} {answer['id']} ada 1"


async def test_a_busy_thread_queues(serve: Serve) -> None:
    gate = Gate()
    async with serve(gate) as served:
        ids = [(await served.ask(text, background=True, conversation="t")).json()["id"] for text in ("a", "b")]
        await gate.has_entered()
        await asyncio.sleep(0.1)
        assert gate.entered == ["a"]
        gate.open.set()
        assert [text_of(await served.ended(each)) for each in ids] == ["through: a", "through: b"]


async def test_a_busy_thread_that_is_interrupted(serve: Serve) -> None:
    gate = Gate()
    async with serve(gate, on_busy="interrupt") as served:
        first = (await served.ask("a", background=True, conversation="t")).json()["id"]
        await gate.has_entered()
        second = (await served.ask("b", background=True, conversation="t")).json()["id"]
        assert (await served.ended(first))["status"] == "cancelled"
        gate.open.set()
        assert text_of(await served.ended(second)) == "through: b"
        assert gate.cancelled == ["a"]


async def test_a_busy_thread_that_rejects(serve: Serve) -> None:
    gate = Gate()
    async with serve(gate, on_busy="reject") as served:
        await served.ask(background=True, conversation="t")
        answer = await served.ask(background=True, conversation="t")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "thread_busy")
        assert (await served.ask(background=True, conversation="another")).status_code == 200


# The same request once more.


async def test_an_idempotency_key_makes_a_retried_request_the_same_run(serve: Serve) -> None:
    gate = Gate()
    gate.open.set()
    async with serve(gate) as served:
        headers = {"Idempotency-Key": "k"}
        bodies: list[dict[str, Any]] = [{"background": True}, {}, {"stream": True, "background": True}]
        answers = [
            await served.http.post("/responses", json={"input": "Hello", **body}, headers=headers) for body in bodies
        ]
        assert len({answer.headers["x-response-id"] for answer in answers}) == 1
        assert answers[1].json()["status"] == "completed"
        assert gate.entered == ["Hello"]
        other = await served.http.post("/responses", json={"input": "Bye"}, headers=headers)
        assert (other.status_code, other.headers["x-should-retry"]) == (409, "false")


# Limits.


async def test_too_much_is_refused_for_now(serve: Serve) -> None:
    gate = Gate()
    async with serve(gate, concurrency=1, max_queued_per_user=2, identify=identify) as served:

        async def ask(user: str) -> httpx.Response:
            return await served.http.post("/responses", json={"input": user, "background": True}, headers=of(user))

        assert (await ask("ada")).status_code == 200
        await gate.has_entered()
        assert [(await ask("ada")).status_code for _ in range(3)] == [200, 200, 429]
        refused = await ask("ada")
        assert (refused.headers["retry-after"], refused.json()["error"]["code"]) == ("5", "queue_full")
        assert (await ask("bob")).status_code == 200
        gate.open.set()


async def test_a_queue_that_is_full_for_everybody(serve: Serve) -> None:
    async with serve(greets, max_queued=0) as served:
        with pytest.raises(openai.RateLimitError) as refused:
            await served.openai.responses.create(input="Hello")
        assert refused.value.response.headers["retry-after"] == "5"


async def test_a_run_takes_no_longer_than_its_timeout(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_TIMEOUT_SECONDS", "2.5")
    gate = Gate()
    async with serve(gate) as served:
        response_id = (await served.ask(background=True)).json()["id"]
        ended = await served.ended(response_id)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "timeout")
        waited = await served.ask()
        assert (waited.status_code, waited.json()["error"]["code"]) == (500, "timeout")
        assert gate.cancelled == ["Hello", "Hello"]
        # Nobody who worked on it says so: it is stored with the failure.
        events = await served.events("GET", f"/responses/{response_id}?stream=true")
        assert [(event["sequence_number"], event["type"]) for event in events] == [(0, "error"), (1, "response.failed")]
        assert events[-1]["response"] == ended


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "nan", "inf"])
def test_timeouts_that_cannot_be(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_TIMEOUT_SECONDS", seconds)
    with pytest.raises(ConfigurationError, match="TASK_TIMEOUT_SECONDS"):
        create_app(greets)


# Failures.


SECRET = "SELECT 'hunter2' FROM accounts"


async def fails(request: dict[str, Any]) -> AsyncIterator[str]:
    yield "Well "
    raise psycopg.ProgrammingError(SECRET)


async def test_a_failure_is_told_of_without_what_it_is_made_of(serve: Serve) -> None:
    async with serve(fails) as served:
        events = await served.events("POST", "/responses", json={"input": "Hello", "stream": True})
        error, last = events[-2:]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert (error["type"], error["code"], error["message"]) == (
            "error",
            "server_error",
            "the agent failed (ProgrammingError)",
        )
        assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
        path = f"/responses/{last['response']['id']}"
        again = await served.events("GET", f"{path}?stream=true&starting_after={error['sequence_number']}")
        assert again == [last]
        polled = (await served.http.get(path)).json()
        waited = await served.ask()
        assert (waited.status_code, waited.headers["x-should-retry"]) == (500, "false")
        assert polled["error"] == {"code": "server_error", "message": "the agent failed (ProgrammingError)"}
        for told in (json.dumps(events), json.dumps(polled), waited.text):
            assert "hunter2" not in told
            assert "Traceback" not in told


async def test_the_stream_of_a_run_that_is_tried_again_goes_on_behind_its_failure(serve: Serve) -> None:
    async def recovers(request: dict[str, Any], run: Any) -> AsyncIterator[str]:
        yield f"attempt {run.attempt}"
        if run.attempt == 1:
            raise ValueError

    async with serve(recovers) as served:
        before = await served.events("POST", "/responses", json={"input": "Hello", "stream": True})
        assert [event["type"] for event in before[-2:]] == ["error", "response.failed"]
        run_id = before[0]["response"]["id"]
        owner = await served.memory._storage.run(owner_of(run_id))
        assert owner is not None
        await served.memory.for_user(owner.partition(":")[2]).runs.retry(run_id)
        assert (await served.ended(run_id))["status"] == "completed"
        path = f"/responses/{run_id}?stream=true"
        after = await served.events("GET", path)
        # What a client has got is as it was, to the letter; what comes then has numbers of its own.
        assert after[: len(before)] == before
        assert [event["sequence_number"] for event in after] == list(range(len(after)))
        assert (after[len(before)]["type"], after[-1]["type"]) == ("response.resumed", "response.completed")
        last = before[-1]["sequence_number"]
        assert await served.events("GET", f"{path}&starting_after={last}") == after[len(before) :]


async def test_the_openai_client_reads_failures(serve: Serve) -> None:
    async with serve(fails) as served:
        events = [event async for event in await served.openai.responses.create(input="Hello", stream=True)]
        assert [event.type for event in events[-2:]] == ["error", "response.failed"]
        with pytest.raises(openai.InternalServerError, match="the agent failed"):
            await served.openai.responses.create(input="Hello")
        with pytest.raises(openai.NotFoundError):
            await served.openai.responses.retrieve("resp_none")


async def test_a_failure_is_not_tried_again_and_an_outage_is(serve: Serve) -> None:
    attempts: list[int] = []

    async def stumbles(request: dict[str, Any], run: Any) -> AsyncIterator[str]:
        attempts.append(run.attempt)
        yield f"attempt {run.attempt}"
        if run.attempt == 1:
            raise StorageUnavailableError("the database is away")

    async with serve(stumbles) as served:
        events = await served.events("POST", "/responses", json={"input": "Hello", "stream": True})
        assert attempts == [1, 2]
        [resumed] = [event for event in events if event["type"] == "response.resumed"]
        assert (resumed["attempt"], resumed["from_seq"], resumed["discard_after_seq"]) == (
            2,
            resumed["sequence_number"],
            -1,
        )
        # What the first attempt said is void: it is not joined to what the second one says.
        assert text_of(events[-1]["response"]) == "attempt 2"
        assert (events[-1]["type"], events[-1]["response"]["attempt_number"]) == ("response.completed", 2)


# Whose run it is.


async def test_to_others_a_run_does_not_exist(serve: Serve) -> None:
    async with serve(greets, identify=identify) as served:
        done = (await served.http.post("/responses", json={"input": "Hello"}, headers=of("ada"))).json()
        path = f"/responses/{done['id']}"
        requests = [
            ("GET", path),
            ("GET", f"{path}?stream=true"),
            ("GET", f"{path}/input_items"),
            ("POST", f"{path}/cancel"),
            ("DELETE", path),
        ]
        for method, each in requests:
            for claim in ("", "&user_id=ada" if "?" in each else "?user_id=ada"):
                answer = await served.http.request(method, each + claim, headers=of("bob"))
                nothing = await served.http.request(method, each.replace(done["id"], "resp_none"), headers=of("bob"))
                assert (answer.status_code, answer.text) == (404, nothing.text)
        body = {"input": "Hello", "previous_response_id": done["id"]}
        assert (await served.http.post("/responses", json=body, headers=of("bob"))).status_code == 400
        # Without a token it is nobody's request in particular, and an id is not enough.
        assert (await served.http.get(path)).status_code == 404
        assert (await served.http.get(path, headers=of("ada"))).json() == done


async def test_a_wrong_token_is_refused(serve: Serve) -> None:
    async with serve(greets, identify=identify) as served:
        for method, path in (("POST", "/responses"), ("GET", "/responses/resp_1")):
            answer = await served.http.request(
                method, path, json={"input": "x"}, headers={"x-forwarded-access-token": "stolen"}
            )
            assert answer.status_code == 401
            assert "stolen" not in answer.text


async def test_deployed_only_verified_users_are_taken(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(greets) as served:
        done = (await served.ask(custom_inputs={"user_id": "ada"})).json()
        monkeypatch.setenv("DATABRICKS_APP_NAME", "assistant")
        requests = [
            ("POST", "/responses"),
            ("GET", f"/responses/{done['id']}"),
            ("GET", f"/responses/{done['id']}?user_id=ada"),
            ("POST", f"/responses/{done['id']}/cancel"),
            ("DELETE", f"/responses/{done['id']}"),
        ]
        for method, path in requests:
            body = {"input": "Hello", "custom_inputs": {"user_id": "ada"}}
            answer = await served.http.request(method, path, json=body, headers=of("ada"))
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


async def test_where_nobody_verifies_users_an_id_is_enough_unless_somebody_is_claimed(serve: Serve) -> None:
    async with serve(greets) as served:
        done = (await served.ask(custom_inputs={"user_id": "ada"})).json()
        assert (await served.http.get(f"/responses/{done['id']}")).json() == done
        assert (await served.http.get(f"/responses/{done['id']}?user_id=ada")).json() == done
        assert (await served.http.get(f"/responses/{done['id']}?user_id=bob")).status_code == 404
        [run] = await served.memory.for_user("ada").runs.list()
        assert run.run_id == done["id"]


async def test_the_process_that_took_a_request_works_on_it_with_its_token(serve: Serve) -> None:
    def of_process(name: str) -> Any:
        async def tells(request: dict[str, Any], run: Any) -> str:
            return f"{name} {run.user_token()}"

        return tells

    async with (
        serve(of_process("first"), identify=identify) as first,
        serve(of_process("second"), identify=identify) as second,
    ):
        for _ in range(5):
            for name, served in (("first", first), ("second", second)):
                answer = await served.http.post("/responses", json={"input": "Hello"}, headers=of("ada"))
                assert text_of(answer.json()) == f"{name} token of ada"


async def test_a_token_does_not_follow_a_run_to_another_process(serve: Serve) -> None:
    began = asyncio.Event()

    async def acts_for_the_user(request: dict[str, Any], run: Any) -> AsyncIterator[str]:
        yield f"with {len(run.user_token())} characters "
        began.set()
        await asyncio.sleep(60)

    async with serve(acts_for_the_user, identify=identify, drain=0.2) as second:
        async with serve(acts_for_the_user, identify=identify, drain=0.2) as first:
            body = {"input": "Hello", "stream": True, "background": True}
            taken = await first.http.post("/responses", json={**body, "stream": False}, headers=of("ada"))
            await began.wait()
        path = f"/responses/{taken.json()['id']}"
        async with asyncio.timeout(15):
            while (ended := (await second.http.get(path, headers=of("ada"))).json())["status"] != "failed":
                await asyncio.sleep(0.02)
        assert ended["error"]["code"] == "user_token_required"
        assert "send the request again" in ended["error"]["message"]
        assert ended["attempt_number"] == 2


async def test_who_waits_for_a_run_without_its_token_is_to_come_again(serve: Serve) -> None:
    async def acts_for_the_user(request: dict[str, Any], run: Any) -> str:
        return str(run.user_token())

    async with serve(acts_for_the_user) as served:
        # It has come without one: that is another thing.
        answer = await served.ask()
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
        served.app.state.service._remember = lambda run_id, headers: served.app.state.service._headers.pop(run_id, None)
        answer = await served.http.post("/responses", json={"input": "Hello"}, headers=of("ada"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "user_token_required")


async def test_headers_are_given_to_the_agent_and_not_stored(serve: Serve, target: Lakebase) -> None:
    async def tells(request: dict[str, Any], run: Any) -> str:
        return f"a token of {len(run.headers['x-forwarded-access-token'])} characters"

    async with serve(tells, identify=identify) as served:
        body = {"input": "Hello", "stream": True}
        tail = await served.events("POST", "/responses", json=body, headers=of("ada"))
        assert text_of(tail[-1]["response"]) == "a token of 12 characters"
        with connect(target) as connection:
            connection.execute("SELECT set_config('lakemem.owner', 'user:ada', false)")
            both = "SELECT r::text FROM lakemem.runs AS r UNION ALL SELECT event FROM lakemem.run_events"
            stored = str(connection.execute(both).fetchall())
        assert "a token of 12" in stored
        assert "token of ada" not in stored


# Connections that are cut.


async def test_a_foreground_run_goes_on_when_its_client_is_gone(serve: Serve) -> None:
    gate = Gate()
    async with serve(gate) as served:
        for number, stream in enumerate((True, False), 1):
            body = {"input": f"stream {stream}", "stream": stream}
            asking = asyncio.ensure_future(served.http.post("/responses", json=body))
            await gate.has_entered(number)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        runs = await served.memory.for_user("local-user").runs.list()
        assert [run.status for run in runs] == ["in_progress"] * 2
        gate.open.set()
        assert {text_of(await served.ended(run.run_id)) for run in runs} == {
            "through: stream True",
            "through: stream False",
        }


async def test_who_waits_when_the_server_stops_learns_how_to_go_on(serve: Serve) -> None:
    gate = Gate()
    async with serve(gate, drain=0.3) as served:
        waits = asyncio.ensure_future(served.ask())
        await gate.has_entered()
        streams = asyncio.ensure_future(served.frames("POST", "/responses", json={"input": "streamed", "stream": True}))
        await gate.has_entered(2)
        await served.app.state.service.stop()
        answer = await waits
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_stopping")
        # No [DONE]: it is not over.
        assert "[DONE]" not in "".join(await streams)
        gate.open.set()
        async with serve(gate) as other:
            assert text_of(await other.ended(answer.headers["x-response-id"])) == "through: Hello"


async def test_many_events_to_many_clients_each_once(serve: Serve) -> None:
    async def counts(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        for number in range(2_000):
            yield {"type": "my.count", "number": number}

    async with serve(counts) as served:
        response_id = (await served.ask(background=True)).json()["id"]

        async def tail(cursor: int) -> list[int]:
            path = f"/responses/{response_id}?stream=true&starting_after={cursor}"
            return [event["sequence_number"] for event in await served.events("GET", path)]

        cursors = (-1, -1, 3, 500, 1_999)
        found = await asyncio.gather(*map(tail, cursors))
        assert found == [list(range(cursor + 1, 2_003)) for cursor in cursors]


async def test_mounted_in_another_application(target: Lakebase) -> None:
    async with AsyncMemory(target) as memory:
        inner = create_app(greets, memory=memory)

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            async with inner.router.lifespan_context(inner):
                yield

        outer = Starlette(routes=[Mount("/agent", inner)], lifespan=lifespan)
        async with outer.router.lifespan_context(outer):
            transport = httpx.ASGITransport(outer)
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                answer = await client.post("/agent/responses", json={"input": "Hello"})
                assert text_of(answer.json()) == "You said Hello "
        # It was open before, and stays open.
        assert (await memory.health()).status == "ok"
