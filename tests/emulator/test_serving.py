from __future__ import annotations

import math

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from openai import OpenAI

from lakemem.integrations.embedders import LocalEmbedder
from lakemem.testing import LakebaseEmulator

TEXTS = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Quarterly revenue fell by 3 %."]


@pytest.fixture
def openai(emulator: LakebaseEmulator) -> OpenAI:
    """OpenAI's client, pointed at the workspace as Databricks' own client does."""
    return OpenAI(base_url=f"{emulator.url}/serving-endpoints", api_key=emulator.login())


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def test_embeddings_have_the_endpoints_dimensions_and_the_models_cosines(workspace: WorkspaceClient) -> None:
    answer = workspace.serving_endpoints.query("databricks-gte-large-en", input=TEXTS)
    vectors = [list(entry.embedding or []) for entry in answer.data or []]
    assert [len(vector) for vector in vectors] == [1024] * 3
    local = LocalEmbedder().embed(TEXTS)
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert cosine(vectors[one], vectors[other]) == pytest.approx(cosine(local[one], local[other]), abs=1e-6)
    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2]) + 0.2


def test_openais_client_gets_the_same_embeddings(workspace: WorkspaceClient, openai: OpenAI) -> None:
    own = workspace.serving_endpoints.query("databricks-gte-large-en", input=TEXTS[0]).data or []
    theirs = openai.embeddings.create(model="databricks-gte-large-en", input=TEXTS[0], encoding_format="float")
    assert theirs.data[0].embedding == pytest.approx(own[0].embedding)


def test_an_endpoint_that_does_not_embed_says_so(workspace: WorkspaceClient) -> None:
    with pytest.raises(NotFound, match="does not embed"):
        workspace.serving_endpoints.query("no-such-endpoint", input=TEXTS)


def test_chat_follows_the_script_and_then_echoes(
    emulator: LakebaseEmulator, workspace: WorkspaceClient, openai: OpenAI
) -> None:
    emulator.chat.reply("Good morning.", lambda messages: f"{len(messages)} messages")
    question = ChatMessage(role=ChatMessageRole.USER, content="Hello")
    answer = workspace.serving_endpoints.query("any-model", messages=[question])
    assert (answer.choices or [])[0].message.content == "Good morning."  # type: ignore[union-attr]
    for expected in ("1 messages", "You said: Hello"):
        reply = openai.chat.completions.create(model="any-model", messages=[{"role": "user", "content": "Hello"}])
        assert reply.choices[0].message.content == expected


def test_chat_streams_texts_and_tool_calls(emulator: LakebaseEmulator, openai: OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"query": "x"}'}}
    emulator.chat.reply("one two  three", {"content": "", "tool_calls": [call]})
    for expected in ("one two  three", "search"):
        found = ""
        for chunk in openai.chat.completions.create(
            model="any-model", messages=[{"role": "user", "content": "Hello"}], stream=True
        ):
            delta = chunk.choices[0].delta
            found += delta.content or ""
            found += "".join(str(called.function and called.function.name) for called in delta.tool_calls or [])
        assert found == expected
