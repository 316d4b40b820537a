# Generated from tests/_async/test_thread_search.py by tools/unasync.py: edit that file, then run `make generate`.
"""Finding what was said in a user's threads, on a real Postgres."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from lakemem import InvalidInputError, Lakebase, Memory, ScopedMemory
from lakemem.testing import DatabaseFactory
from tests.support.rows import Rows


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def alice(memory: Memory) -> ScopedMemory:
    return memory.for_user(f"alice {uuid.uuid4()}")


def found(user: ScopedMemory, query: str, **options: Any) -> list[tuple[str, int]]:
    return [(hit.thread_id, hit.position) for hit in user.search_threads(query, **options)]


def test_the_items_with_more_and_rarer_words_come_first(alice: ScopedMemory) -> None:
    alice.thread("t").append(
        [
            {"content": "We plan the garden."},
            {"content": "The garden is large."},
            {"content": "Plans for a garden in Zürich"},
            {"content": "Nothing of that."},
        ]
    )
    alice.thread("u").append([{"content": "zürich!"}, {"content": "a garden, newer"}])
    assert found(alice, "gardens planned in Zürich") == [("t", 3), ("t", 1), ("u", 1), ("u", 2), ("t", 2)]
    hits = alice.search_threads("gardens planned in Zürich", limit=2)
    assert hits[0].score == 1.0
    assert 0 < hits[1].score < 1
    assert hits[0].item == {"content": "Plans for a garden in Zürich"}
    assert [message for message in alice.thread("t").messages() if message.position == 3] == [hits[0].message]
    assert found(alice, "zurich") == []


@pytest.mark.parametrize(
    ("item", "is_found"),
    [
        ({"role": "user", "content": "a needle"}, True),
        ({"content": [{"type": "output_text", "text": "needles"}, {"type": "output_text", "text": "more"}]}, True),
        ({"content": ["first\nneedle"]}, True),
        ({"content": [{"type": "refusal", "refusal": "No needle."}]}, True),
        ({"type": "function_call_output", "call_id": "1", "output": "the needle"}, True),
        ({"type": "function_call_output", "output": [{"type": "input_text", "text": "needle"}]}, True),
        ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "needle?"}]}, True),
        ({"text": "needle"}, True),
        ({"content": "\x00needle\ud83e \\u0000"}, True),
        ({"needle": "content", "content": "x"}, False),
        ({"id": "needle", "content": "x"}, False),
        ({"content": [{"type": "needle", "text": "x", "needle": "needle"}]}, False),
        ({"content": [{"text": {"needle": 1}}, 7, None]}, False),
        ({"type": "function_call", "name": "needle", "arguments": '{"needle": 1}'}, False),
        ({"content": None, "output": {"needle": "needle"}}, False),
        ({"content": "needlework is another word, and so is needless"}, False),
    ],
)
def test_words_are_looked_for_in_what_was_said_alone(alice: ScopedMemory, item: dict[str, Any], is_found: bool) -> None:
    alice.thread("t").append([item])
    assert found(alice, "needle") == ([("t", 1)] if is_found else [])


def test_a_long_text_is_searched_as_far_as_a_memory_would_be(alice: ScopedMemory) -> None:
    alice.thread("t").append([{"content": " ".join(f"{n:x}word" for n in range(200_000)) + " needle"}])
    assert found(alice, "7word") == [("t", 1)]
    assert found(alice, "needle") == []


def test_an_item_that_postgres_cannot_look_into_hides_no_other(alice: ScopedMemory, target: Lakebase) -> None:
    alice.thread("t").append([{}, {"content": "needle"}])
    endless = f'{{"content": "needle", "number": {"1" * 140_000}}}'
    Rows(target, alice.owner)("UPDATE lakemem.thread_items SET item = %s::json WHERE position = 1", endless)
    assert found(alice, "needle") == [("t", 2)]


def test_escaped_letters_are_read_as_letters(alice: ScopedMemory, target: Lakebase) -> None:
    """As in items that something else has stored."""
    alice.thread("t").append([{}])
    escaped = json.dumps({"content": "Grüße aus Zürich"})
    assert "\\u" in escaped
    Rows(target, alice.owner)("UPDATE lakemem.thread_items SET item = %s::json", escaped)
    assert found(alice, "zürich") == [("t", 1)]


def test_every_word_begins_as_its_stem_does_for_the_search(alice: ScopedMemory, target: Lakebase) -> None:
    """What is looked for first must find every word that is then counted."""
    words = files("lakemem.integrations").joinpath("minilm_vocabulary.txt").read_text("utf-8").split()
    missed = Rows(target, alice.owner)(
        "SELECT word, lexeme FROM unnest(%s::text[]) AS word, unnest(to_tsvector('english', word)) AS l (lexeme)"
        " WHERE lower(word) !~ ('\\m' || regexp_replace(regexp_replace(lexeme, '(?:bl|[iey]+)$', ''), '(\\W)',"
        " '\\\\\\1', 'g'))",
        [word for word in words if word.isalpha()],
    )
    assert missed == []
    assert len(words) > 20_000


@pytest.mark.parametrize("query", ["", " ", 7, None])
def test_a_query_without_text_is_refused(alice: ScopedMemory, query: Any) -> None:
    with pytest.raises(InvalidInputError):
        alice.search_threads(query)


def test_a_query_is_nothing_but_words(alice: ScopedMemory) -> None:
    alice.thread("t").append([{"content": r"100%_of c:\temp ' -- (a|b) <-> & ! a.b@example.com/x?y=1"}])
    for query in ("%", "_", "\\", "'", "the", "!", "(", "\x00", "\ud83e", "*", "nothing % _ \\ here"):
        assert found(alice, query) == []
    for query in ("a.b@example.com/x?y=1", "100% & !", "'temp' | (", r"c:\temp", "'); --temp"):
        assert found(alice, query) == [("t", 1)], query


def test_a_limit_of_hits(alice: ScopedMemory) -> None:
    alice.thread("t").append([{"content": f"word {n}"} for n in range(1500)])
    assert len(found(alice, "word")) == 10
    assert found(alice, "word", limit=0) == []
    assert len(found(alice, "word", limit=None)) == 1500
    with pytest.raises(InvalidInputError):
        alice.search_threads("word", limit=-1)
