"""The embedders: the local one, an OpenAI-compatible endpoint over HTTP, and any function."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai import OpenAI

from lakemem import AsyncMemory, ConfigurationError, InvalidInputError, Lakebase, Memory
from lakemem.embedding import CallableEmbedder, CheckedEmbedder
from lakemem.errors import DimensionMismatchError, EmbedderUnavailableError, EmbeddingError
from lakemem.integrations.embedders import LocalEmbedder, OpenAIEmbedder
from lakemem.protocols import Embedder
from tests.support_http import JsonServer, Refusal

KEY = "sk-do-not-tell"
SECRET = "the user's secret"
PATH = "/v1/embeddings"
NAN = float("nan")


def cosine(first: list[float], second: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


# The local one.


@pytest.fixture(scope="module")
def local() -> LocalEmbedder:
    return LocalEmbedder()


def test_the_local_embedder_gives_unit_vectors_of_384_dimensions(local: LocalEmbedder) -> None:
    assert isinstance(local, Embedder)
    vectors = local.embed(["one", "Zwei, 你好, 🦆", "?", "a\x00b"])
    assert [len(vector) for vector in vectors] == [384] * 4
    assert [math.sqrt(cosine(vector, vector)) for vector in vectors] == pytest.approx([1.0] * 4)
    assert local.embed([]) == []


def test_a_text_has_one_vector_whatever_stands_beside_it_and_whoever_asks(local: LocalEmbedder) -> None:
    texts = ["The user works in analytics-eu.", "x", "A much longer text about dogs. " * 20]
    [alone] = local.embed([texts[0]])
    assert local.embed(texts)[0] == alone
    assert local.embed(list(reversed(texts)))[-1] == alone
    assert LocalEmbedder(threads=1).embed([texts[0]])[0] == pytest.approx(alone, abs=1e-6)


def test_a_text_has_the_same_vector_in_another_process(local: LocalEmbedder) -> None:
    program = (
        "import json; from lakemem.integrations.embedders import LocalEmbedder;"
        "print(json.dumps(LocalEmbedder().embed(['The cat sat on the mat.'])))"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert json.loads(answer.stdout) == local.embed(["The cat sat on the mat."])


@pytest.mark.parametrize(
    ("question", "like", "unlike"),
    [
        ("Which workspace does the user prefer?", "The user works in the workspace analytics-eu.", "It rained."),
        ("What pet do I have?", "The user owns a small dog called Rex.", "The user drives an electric car."),
        ("How should I reply?", "The user likes short answers.", "The user lives in Łódź."),
        ("capital of France", "Paris is France's seat of government.", "The recipe needs two eggs."),
    ],
)
def test_what_means_the_same_is_nearer(local: LocalEmbedder, question: str, like: str, unlike: str) -> None:
    asked, near, far = local.embed([question, like, unlike])
    assert cosine(asked, near) > cosine(asked, far) + 0.1


def test_a_long_text_is_read_up_to_the_models_limit(local: LocalEmbedder) -> None:
    beginning = "The user owns a dog. " * 60
    first, second = local.embed([beginning, beginning + "And now for something else. " * 10_000])
    assert first == second
    assert local.embed(["x" * 1_000_000])


@pytest.mark.parametrize("bad", ["", "   ", "\n\t", None, 7, b"bytes"])
def test_a_text_that_says_nothing_is_refused(local: LocalEmbedder, bad: Any) -> None:
    with pytest.raises(InvalidInputError, match="a text to embed"):
        local.embed(["good", bad])


def test_the_local_embedder_can_be_asked_by_many_threads_from_the_first_call_on(local: LocalEmbedder) -> None:
    texts = [f"The user's number is {number}." for number in range(24)]
    fresh = LocalEmbedder()
    start = threading.Barrier(8)

    def ask(place: int) -> list[list[float]]:
        start.wait(10)
        return fresh.embed(texts[place::8])

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(8)))
    for place, vectors in enumerate(found):
        assert vectors == local.embed(texts[place::8])


# An endpoint.


class Endpoint:
    """Speaks OpenAI's embeddings API: the vector of a text is its length, and its number of words."""

    def __init__(self) -> None:
        self.spoil: Callable[[dict[str, Any]], Any] = lambda answer: answer
        self.server = JsonServer({PATH: self._answer})

    def embedder(self, **options: Any) -> OpenAIEmbedder:
        client = OpenAI(base_url=f"{self.server.url}/v1", api_key=KEY, max_retries=0, timeout=0.5)
        return OpenAIEmbedder("tiny", **{"dimensions": 2, "client": client, **options})

    @property
    def bodies(self) -> list[Any]:
        return [body for _, body in self.server.requests]

    def _answer(self, body: Any) -> Any:
        data = [
            {"object": "embedding", "index": place, "embedding": [float(len(text)), float(len(text.split()))]}
            for place, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return self.spoil({"object": "list", "model": body["model"], "data": data, "usage": usage})


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    with endpoint.server:
        yield endpoint


def refuse(status: int, message: str = f"{SECRET} {KEY}") -> Callable[[Any], Any]:
    def spoil(answer: Any) -> Any:
        raise Refusal(status, message)

    return spoil


def with_vectors(*vectors: Any) -> Callable[[dict[str, Any]], Any]:
    """Answer with these, whatever was asked."""
    data = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    return lambda answer: {**answer, "data": data}


def test_vectors_come_in_the_order_of_the_texts_whatever_the_order_of_the_answer(endpoint: Endpoint) -> None:
    endpoint.spoil = lambda answer: {**answer, "data": sorted(answer["data"], key=lambda entry: -entry["index"])}
    assert endpoint.embedder().embed(["a", "bb cc", "ddd"]) == [[1, 1], [5, 2], [3, 1]]
    assert endpoint.bodies == [{"model": "tiny", "input": ["a", "bb cc", "ddd"], "encoding_format": "float"}]


def test_the_endpoint_is_asked_to_shorten_only_where_wanted(endpoint: Endpoint) -> None:
    endpoint.embedder(shorten=True).embed(["a"])
    endpoint.embedder().embed(["a"])
    assert [body.get("dimensions") for body in endpoint.bodies] == [2, None]


def test_texts_go_in_batches_and_each_only_once(endpoint: Endpoint) -> None:
    checked = CheckedEmbedder(endpoint.embedder(), batch_size=3)
    texts = ["a", "bb", "a", "ccc", "  ", "dddd", "eeeee", "bb"]
    vectors = checked.embed(texts)
    assert [body["input"] for body in endpoint.bodies] == [["a", "bb", "ccc"], ["dddd", "eeeee"]]
    assert vectors[4] is None
    assert vectors[0] == vectors[2] != vectors[1] == vectors[7]
    assert checked.embed(["ccc", "a"]) == [vectors[3], vectors[0]]
    assert len(endpoint.bodies) == 2


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (refuse(400), EmbedderUnavailableError, "failed with BadRequestError"),
        (refuse(401), EmbedderUnavailableError, "failed with AuthenticationError"),
        (refuse(404), EmbedderUnavailableError, "failed with NotFoundError"),
        (refuse(429), EmbedderUnavailableError, "failed with RateLimitError"),
        (refuse(500), EmbedderUnavailableError, "failed with InternalServerError"),
        (lambda answer: [SECRET, KEY], EmbedderUnavailableError, "failed with"),
        (with_vectors(), EmbeddingError, "returned 0 vectors for 2 texts"),
        (with_vectors([1.0, 2.0]), EmbeddingError, "returned 1 vectors for 2 texts"),
        (with_vectors([1, 2], [1, 2], [1, 2]), EmbeddingError, "returned 3 vectors for 2 texts"),
        (with_vectors([1, 2], [1, 2, 3]), DimensionMismatchError, "announces 2 dimensions, but returned 3"),
        (with_vectors([1, 2], []), DimensionMismatchError, "announces 2 dimensions, but returned 0"),
        (with_vectors([1, 2], [1, NAN]), EmbeddingError, "returned NaN or infinity"),
        (with_vectors([1, 2], [float("-inf"), 1]), EmbeddingError, "returned NaN or infinity"),
        (with_vectors([1, 2], [SECRET, KEY]), EmbeddingError, "not a list of numbers"),
        (with_vectors([1, 2], None), EmbeddingError, "not a list of numbers"),
        (with_vectors([1, 2], [[1], [2]]), EmbeddingError, "not a list of numbers"),
    ],
)
def test_an_answer_that_is_of_no_use_is_an_error_that_names_the_embedder_and_tells_no_secret(
    endpoint: Endpoint, spoil: Callable[[Any], Any], error: type[EmbeddingError], says: str
) -> None:
    endpoint.spoil = spoil
    with pytest.raises(error) as caught:
        CheckedEmbedder(endpoint.embedder()).embed(["a", SECRET])
    assert type(caught.value) is error
    assert "the embedder tiny" in str(caught.value)
    assert says in str(caught.value)
    shown = "".join(map(repr, (caught.value, caught.value.__cause__)))
    assert KEY not in shown
    assert SECRET not in shown


def test_an_endpoint_that_hangs_or_is_not_there_is_an_error(endpoint: Endpoint) -> None:
    end = threading.Event()
    endpoint.spoil = lambda answer: [end.wait(10), answer][1]
    try:
        with pytest.raises(EmbedderUnavailableError, match="the embedder tiny failed with APITimeoutError"):
            CheckedEmbedder(endpoint.embedder()).embed(["a"])
    finally:
        end.set()
    gone = OpenAIEmbedder(
        "tiny", dimensions=2, client=OpenAI(base_url="http://127.0.0.1:1/v1", api_key=KEY, max_retries=0)
    )
    with pytest.raises(EmbedderUnavailableError, match="the embedder tiny failed with APIConnectionError"):
        CheckedEmbedder(gone).embed(["a"])


def test_nothing_of_a_failed_call_is_kept(endpoint: Endpoint) -> None:
    checked = CheckedEmbedder(endpoint.embedder(), batch_size=1)
    endpoint.spoil = with_vectors([NAN, 1])
    with pytest.raises(EmbeddingError):
        checked.embed(["a", "b"])
    endpoint.spoil = lambda answer: answer
    assert checked.embed(["a"]) != [None]
    assert [body["input"] for body in endpoint.bodies] == [["a"], ["a"]]


def test_the_default_client_comes_from_the_environment_and_tries_twice(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{endpoint.server.url}/v1")
    embedder = OpenAIEmbedder(dimensions=2)
    assert embedder.embed(["a"]) == [[1, 1]]
    assert KEY not in repr(embedder)
    endpoint.spoil = refuse(500)
    with pytest.raises(EmbedderUnavailableError, match="text-embedding-3-small failed with InternalServerError"):
        CheckedEmbedder(embedder).embed(["b"])
    assert [body["input"] for body in endpoint.bodies] == [["a"], ["b"], ["b"]]


def test_without_a_key_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY, or give client="):
        OpenAIEmbedder()


# In a memory.


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_a_memory_does_without_an_endpoint_that_refuses_and_says_so_once(
    target: Lakebase, endpoint: Endpoint, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    endpoint.spoil = refuse(status)
    with caplog.at_level(logging.WARNING, "lakemem"):
        async with AsyncMemory(target, embedder=endpoint.embedder()) as memory:
            ada = memory.for_user("ada")
            assert (await ada.save("secret", SECRET)).embedded is False
            [hit] = await ada.search("secret")
            assert (hit.arms, hit.similarity) == (("lexical",), None)
            endpoint.spoil = lambda answer: answer
            assert (await ada.save("pet", "a dog")).embedded is True
            assert {hit.arms for hit in await ada.search("dog")} == {("dense", "lexical")}
    told = [record.getMessage() for record in caplog.records if "embedder" in record.getMessage()]
    assert len(told) == 2
    assert "the embedder tiny failed with" in told[0]
    assert KEY not in caplog.text
    assert SECRET not in caplog.text


async def test_a_memory_does_not_wait_for_an_endpoint_beyond_its_deadline(target: Lakebase, endpoint: Endpoint) -> None:
    end = threading.Event()
    endpoint.spoil = lambda answer: [end.wait(10), answer][1]
    async with AsyncMemory(target, embedder=endpoint.embedder(), embedding_deadline=0.1) as memory:
        record = await memory.for_user("ada").save("pet", "a dog")
        end.set()
    assert record.embedded is False


@pytest.mark.parametrize("spoil", [with_vectors([NAN, 1]), with_vectors([1, 2, 3]), with_vectors(["a", "b"])])
async def test_nothing_is_written_where_the_endpoint_returns_no_vector(
    target: Lakebase, endpoint: Endpoint, spoil: Callable[[Any], Any]
) -> None:
    async with AsyncMemory(target, embedder=endpoint.embedder()) as memory:
        ada = memory.for_user("ada")
        await ada.save("pet", "a dog")
        endpoint.spoil = spoil
        with pytest.raises(EmbeddingError):
            await ada.save("pet", "a cat")
        with pytest.raises(EmbeddingError):
            await ada.search("another pet")
        assert [(record.key, record.value, record.version) for record in await ada.items()] == [("pet", "a dog", 1)]


def test_a_memory_without_words_is_saved_without_asking_the_endpoint(target: Lakebase, endpoint: Endpoint) -> None:
    with Memory(target, embedder=endpoint.embedder()) as memory:
        assert memory.for_user("ada").save("_", None).embedded is False
    assert endpoint.bodies == []


def test_the_local_embedder_finds_what_has_no_word_in_common(target: Lakebase, local: LocalEmbedder) -> None:
    with Memory(target, embedder=local) as memory:
        ada = memory.for_user("ada")
        ada.save("pet", "owns a small dog called Rex")
        ada.save("city", "lives in Łódź")
        [best, *_] = ada.search("Which animal is there at home?")
        assert (best.key, best.matched_terms) == ("pet", ())


# Any function.


def test_a_function_is_an_embedder(target: Lakebase) -> None:
    asked: list[list[str]] = []

    def letters(texts: list[str]) -> list[tuple[int, int]]:
        asked.append(texts)
        return [(text.count("a") + 1, text.count("b")) for text in texts]

    embedder = CallableEmbedder(letters, model="letters", dimensions=2)
    assert isinstance(embedder, Embedder)
    with Memory(target, embedder=embedder) as memory:
        ada = memory.for_user("ada")
        ada.save("1", "aaaa")
        ada.save("2", "bbbb")
        assert [hit.key for hit in ada.search("aa a")] == ["1", "2"]
    assert asked == [["1: aaaa"], ["2: bbbb"], ["aa a"]]


@pytest.mark.parametrize("returned", [None, 7, [[NAN, 0.0]], [[1.0]], [], [None], ["ab"]])
def test_a_function_that_returns_no_vectors_is_an_error(returned: Any) -> None:
    embedder = CheckedEmbedder(CallableEmbedder(lambda texts: returned, model="broken", dimensions=2))
    with pytest.raises(EmbeddingError, match="the embedder broken"):
        embedder.embed(["a"])


def test_a_vector_without_a_direction_is_none() -> None:
    embedder = CheckedEmbedder(CallableEmbedder(lambda texts: [[0.0, 0.0]], model="zero", dimensions=2))
    assert embedder.embed(["a"]) == [None]


@pytest.mark.parametrize("dimensions", [0, -1, 4001])
def test_dimensions_that_a_row_cannot_hold_are_refused(dimensions: int) -> None:
    with pytest.raises(InvalidInputError, match="dimensions"):
        CheckedEmbedder(CallableEmbedder(lambda texts: [], model="m", dimensions=dimensions))
