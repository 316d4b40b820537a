"""The five ways in which a client asks, with the official client and by plain HTTP, over a real socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai.types.responses import Response

from tests.server.conftest import Serve, Served, greets, text_of

WORDS = "You said Hello "


async def polled(served: Served, response: Response) -> Response:
    async with asyncio.timeout(15):
        while response.status in ("queued", "in_progress"):
            await asyncio.sleep(0.02)
            response = await served.openai.responses.retrieve(response.id)
    return response


def words_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


async def test_invoke(serve: Serve) -> None:
    async with serve(greets) as served:
        response = await served.openai.responses.create(input="Hello")
        assert (response.status, response.output_text) == ("completed", WORDS)
        answer = (await served.http.post("/invocations", json={"input": "Hello"})).json()
        assert (answer["status"], text_of(answer)) == ("completed", WORDS)


async def test_stream(serve: Serve) -> None:
    async with serve(greets) as served:
        events = [event async for event in await served.openai.responses.create(input="Hello", stream=True)]
        assert words_of(events) == WORDS
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
        plain = await served.events("POST", "/invocations", json={"input": "Hello", "stream": True})
        assert [event["type"] for event in plain] == [event.type for event in events]


async def test_the_clients_own_accumulation_of_a_stream(serve: Serve) -> None:
    async with serve(greets) as served, served.openai.responses.stream(model="none", input="Hello") as stream:
        seen = [event async for event in stream]
        assert (await stream.get_final_response()).output_text == WORDS
        assert seen[-1].type == "response.completed"


async def test_background_then_poll(serve: Serve) -> None:
    async with serve(greets) as served:
        response = await served.openai.responses.create(input="Hello", background=True)
        assert response.status in ("queued", "in_progress")
        assert response.background
        response = await polled(served, response)
        assert (response.status, response.output_text) == ("completed", WORDS)


@pytest.mark.parametrize("background", [True, False], ids=["background", "foreground"])
async def test_a_stream_resumed_as_a_stream_at_each_cursor(serve: Serve, background: bool) -> None:
    async with serve(greets) as served:
        stream = await served.openai.responses.create(input="Hello", background=background, stream=True)
        first = await anext(aiter(stream))
        await stream.close()
        response_id = first.response.id  # type: ignore[union-attr]
        whole = await served.events("GET", f"/responses/{response_id}", params={"stream": "true"})
        assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
        for cursor in range(-1, len(whole) + 1):
            rest = [
                event
                async for event in await served.openai.responses.retrieve(
                    response_id, stream=True, starting_after=cursor
                )
            ]
            assert [event.sequence_number for event in rest] == list(range(cursor + 1, len(whole)))
            assert [event.type for event in rest] == [event["type"] for event in whole[cursor + 1 :]]


async def test_the_clients_own_resumption_of_a_stream(serve: Serve) -> None:
    async with serve(greets) as served:
        async with served.openai.responses.stream(model="none", input="Hello", background=True) as stream:
            events = [await anext(aiter(stream)) for _ in range(4)]
        response_id, cursor = events[0].response.id, events[-1].sequence_number  # type: ignore[union-attr]
        async with served.openai.responses.stream(response_id=response_id, starting_after=cursor) as stream:
            rest = [event async for event in stream]
        assert rest[0].sequence_number == cursor + 1
        assert (await stream.get_final_response()).output_text == WORDS


async def test_background_stream_resumed_by_polling(serve: Serve) -> None:
    async with serve(greets) as served:
        stream = await served.openai.responses.create(input="Hello", background=True, stream=True)
        first = await anext(aiter(stream))
        await stream.close()
        response = await served.openai.responses.retrieve(first.response.id)  # type: ignore[union-attr]
        response = await polled(served, response)
        assert (response.status, response.output_text) == ("completed", WORDS)


async def test_a_background_invoke_can_be_streamed_afterwards(serve: Serve) -> None:
    async with serve(greets) as served:
        response = await served.openai.responses.create(input="Hello", background=True)
        events = [event async for event in await served.openai.responses.retrieve(response.id, stream=True)]
        assert words_of(events) == WORDS
