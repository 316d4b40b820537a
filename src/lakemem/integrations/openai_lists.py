"""Asking a model behind any endpoint that speaks OpenAI's chat completions for a JSON object that has a list.

Source: https://platform.openai.com/docs/guides/structured-outputs
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lakemem.errors import ConfigurationError, ExtractionError, InvalidInputError, MatchingError, MissingExtraError
from lakemem.validation import check_seconds

if TYPE_CHECKING:
    from openai import OpenAI


class OpenAILists:
    """Asks with structured output, where the endpoint knows it.

    Args:
        client: a configured client; by default one made from the environment that does not repeat a call.
        asker: who asks, such as ``extractor``, for a message to people.
        error: what is raised for an answer that is not such an object.
        name: the list's name in the object.
        schema: of the object.
        deadline: seconds that the client waits for the endpoint.
        instructions: what the model is told.
        structured: ask for JSON of the schema.
        options: further arguments of each call.

    Raises:
        ConfigurationError: neither a client nor a key was given.
        InvalidInputError: `deadline` is not a number above zero.
    """

    def __init__(
        self,
        client: OpenAI | None,
        *,
        asker: str,
        error: type[ExtractionError] | type[MatchingError],
        model: str,
        name: str,
        schema: Mapping[str, Any],
        deadline: float,
        instructions: str,
        structured: bool,
        options: Mapping[str, Any] | None,
    ) -> None:
        if check_seconds("deadline", deadline) is None:
            raise InvalidInputError("deadline must be a number of seconds, not None")
        self._client: Any = _default_client(asker) if client is None else client
        self._error = error
        self._model = model
        self._name = name
        self._instructions = instructions
        format_of = {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
        self._options = {
            "timeout": deadline,
            **({"response_format": format_of} if structured else {}),
            **(options or {}),
        }

    def ask(self, content: str) -> list[Any]:
        """Return the list that the model answers with."""
        answer = self._client.chat.completions.create(
            model=self._model,
            messages=[
                {"role": "system", "content": self._instructions},
                {"role": "user", "content": content},
            ],
            **self._options,
        )
        return self._list_in(self._text_of(answer))

    def _text_of(self, answer: Any) -> str:
        """The text of the first choice. Some endpoints give it in parts."""
        content = answer.choices[0].message.content if answer.choices else None
        if isinstance(content, list):
            parts = (part.get("text") if isinstance(part, Mapping) else getattr(part, "text", None) for part in content)
            content = "".join(part for part in parts if isinstance(part, str))
        if not isinstance(content, str) or not content.strip():
            raise self._error("the model gave no answer; it may have refused, or run out of tokens")
        return content

    def _list_in(self, text: str) -> list[Any]:
        """The list in an answer, also where an endpoint that knows no schemas has words around it."""
        decoder = json.JSONDecoder()
        start = text.find("{")
        while start >= 0:
            try:
                found, _ = decoder.raw_decode(text, start)
            except (ValueError, RecursionError):
                found = None
            if isinstance(found, dict) and isinstance(found.get(self._name), list):
                return list(found[self._name])
            start = text.find("{", start + 1)
        raise self._error(f"the model did not answer with a JSON object that has a list of {self._name}")


def _default_client(asker: str) -> OpenAI:
    try:
        from openai import OpenAI, OpenAIError
    except ImportError:
        raise MissingExtraError("openai-agents", f"the OpenAI {asker}") from None
    try:
        return OpenAI(max_retries=0)
    except OpenAIError:
        raise ConfigurationError(f"the OpenAI {asker} has no key: set OPENAI_API_KEY, or give client=") from None
