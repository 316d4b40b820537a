"""Texts that are the same in every run, and about as hard to compress as what people write."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Any

LETTERS = "eeeeaaaoooiiuttttnnnsssrrrllhhddccmmpgfbvywkjxqz"
VOCABULARY = 3000


class Texts:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._words = ["".join(self._random.choices(LETTERS, k=2 + rank % 9)) for rank in range(VOCABULARY)]
        # Zipf's law: the second word comes half as often as the first, the third a third as often.
        self._weights = list(accumulate(1 / (rank + 1) for rank in range(VOCABULARY)))

    def of(self, length: int) -> str:
        """Words of random letters, this many characters in all."""
        words = self._random.choices(self._words, cum_weights=self._weights, k=length // 3 + 1)
        return " ".join(words)[:length]

    def uuid(self) -> str:
        return f"{self._random.getrandbits(128):032x}"


def question(texts: Texts) -> dict[str, Any]:
    """What a user says, as the Agents SDK stores it: about 136 characters of JSON."""
    return {"role": "user", "content": texts.of(104)}


def answer(texts: Texts) -> dict[str, Any]:
    """What the assistant says, as the Agents SDK stores it: about 375 characters of JSON."""
    return {
        "id": f"msg_{texts.uuid()}",
        "content": [{"annotations": [], "text": texts.of(190), "type": "output_text", "logprobs": []}],
        "role": "assistant",
        "status": "completed",
        "type": "message",
    }


def turns(seed: int, count: int) -> list[list[dict[str, Any]]]:
    texts = Texts(seed)
    return [[question(texts), answer(texts)] for _ in range(count)]


def message_pair(texts: Texts, asked: int, answered: int) -> list[Any]:
    """A HumanMessage and an AIMessage of LangChain, with texts of so many characters."""
    from langchain_core.messages import AIMessage, HumanMessage

    return [
        HumanMessage(content=texts.of(asked), id=texts.uuid()),
        AIMessage(
            content=texts.of(answered),
            id=f"run-{texts.uuid()}",
            response_metadata={"finish_reason": "stop", "model_name": "a-model"},
            usage_metadata={"input_tokens": 1200, "output_tokens": 90, "total_tokens": 1290},
        ),
    ]
