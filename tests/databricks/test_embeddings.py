"""Embeddings by a serving endpoint."""

from __future__ import annotations

import time

import pytest

from lakemem import AsyncMemory, EmbedderUnavailableError
from lakemem.embedding import CheckedEmbedder
from lakemem.integrations.databricks import DatabricksEmbedder
from lakemem.testing import LakebaseEmulator

INVOCATIONS = "POST /serving-endpoints/*/invocations"


@pytest.fixture
def embedder(app: LakebaseEmulator) -> DatabricksEmbedder:
    return DatabricksEmbedder()


def cosine(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def test_texts_become_vectors_of_the_default_endpoint(embedder: DatabricksEmbedder) -> None:
    assert (embedder.model, embedder.dimensions) == ("databricks-gte-large-en", 1024)
    question, near, far = embedder.embed(
        ["Which color does she like?", "Her favourite color is green.", "The train leaves at noon."]
    )
    assert len(question) == 1024
    assert cosine(question, near) > cosine(question, far)


def test_the_endpoint_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_EMBEDDING_ENDPOINT", "ours")
    assert DatabricksEmbedder().model == "ours"
    assert DatabricksEmbedder("theirs").model == "theirs"


def test_many_texts_go_in_batches_and_known_ones_not_again(app: LakebaseEmulator, embedder: DatabricksEmbedder) -> None:
    checked = CheckedEmbedder(embedder, batch_size=16)
    texts = [f"text number {n}" for n in range(40)]
    checked.embed(texts)
    assert app.requests.count(INVOCATIONS) == 3
    checked.embed(texts)
    assert app.requests.count(INVOCATIONS) == 3


def test_a_429_is_waited_out_as_retry_after_says(app: LakebaseEmulator, embedder: DatabricksEmbedder) -> None:
    embedder.embed(["warm"])
    app.requests.clear()
    app.faults.rate_limit(INVOCATIONS, retry_after=1, times=1)
    started = time.monotonic()
    assert len(embedder.embed(["cold"])) == 1
    assert time.monotonic() - started >= 1.0
    assert [request.status for request in app.requests.matching(INVOCATIONS)] == [429, 200]


def test_an_endpoint_that_is_not_there_is_told_without_the_text(app: LakebaseEmulator) -> None:
    with pytest.raises(EmbedderUnavailableError, match=r"serving endpoint nowhere.*check that it exists") as caught:
        DatabricksEmbedder("nowhere").embed(["my secret"])
    assert "my secret" not in str(caught.value)


async def test_a_slow_endpoint_costs_the_deadline_and_search_goes_on_by_words(
    app: LakebaseEmulator, embedder: DatabricksEmbedder
) -> None:
    async with AsyncMemory(migrate=True, embedder=embedder, embedding_deadline=0.5) as memory:
        user = memory.for_user("alice")
        await user.save("color", "Her favourite color is green.")
        app.faults.slow(INVOCATIONS, 5.0, times=1)
        started = time.monotonic()
        hits = await user.search("green color?")
        assert time.monotonic() - started < 4
        assert [hit.record.key for hit in hits] == ["color"]


async def test_texts_of_memories_stay_out_of_every_log(
    app: LakebaseEmulator, embedder: DatabricksEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncMemory(migrate=True, embedder=embedder) as memory:
        user = memory.for_user("alice")
        await user.save("diary", "xylophone lessons on thursdays")
        assert len(await user.search("xylophone lessons")) == 1
    assert "databricks-gte-large-en/invocations" in caplog.text
    assert "xylophone" not in caplog.text
