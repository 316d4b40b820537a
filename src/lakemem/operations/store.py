"""What LangGraph's store asks for beyond the memories themselves: batches, filters on values, times, namespaces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from lakemem.errors import InvalidInputError
from lakemem.operations import Operation, Rows, drafting, memories, recall, together
from lakemem.operations.drafting import Draft, Embedded
from lakemem.validation import check_count, check_identifier, check_namespace, check_seconds, encode_metadata

OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")
ANY_DEPTH = 2**31 - 1
MAX_CHANGES = 500
"""Of one transaction: each holds a lock on its key, and a server has room for some thousands of locks."""
SWEPT_AT_ONCE = 500
EXPIRED = "expired"
"""The owner as whom a sweep finds out whose memories have expired; see the policy of this name."""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A memory, when it was first saved, and how well it fits a question."""

    namespace: tuple[str, ...]
    key: str
    value: Any = field(repr=False)
    created_at: datetime
    updated_at: datetime
    score: float | None


@dataclass(frozen=True, slots=True)
class Get:
    """Asks for one item. `refresh` puts off when it expires, if it has a time to live; so it does in a search."""

    namespace: list[str]
    key: str
    refresh: bool


@dataclass(frozen=True, slots=True)
class Search:
    """Asks for the items that fit a query best; without one, for those that were saved last."""

    namespace: list[str]
    query: str | None = field(repr=False)
    conditions: str = field(repr=False)
    limit: int
    offset: int
    refresh: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """Asks for namespaces, cut to a depth, that fit every pattern: (labels, whether they are the last ones)."""

    patterns: str
    depth: int
    limit: int
    offset: int


Question: TypeAlias = Get | Search | Listing
Answer: TypeAlias = StoredItem | list[StoredItem] | list[tuple[str, ...]] | None


@dataclass(frozen=True, slots=True)
class Change:
    """Saves an item, or deletes it.

    Attributes:
        draft: what to save; None to delete.
        ttl: seconds until it expires, after the save and after each read that refreshes it.
    """

    namespace: list[str]
    key: str
    draft: Draft | None
    ttl: float | None = None


def get(namespace: Sequence[str], key: str, *, refresh: bool) -> Get:
    return Get(check_namespace(namespace), check_identifier("key", key), refresh)


def search(
    namespace: Sequence[str],
    *,
    query: str | None,
    filter: Mapping[str, Any] | None,
    limit: int,
    offset: int,
    refresh: bool,
) -> Search:
    return Search(
        check_namespace(namespace),
        recall.check_query(query) if query else None,
        conditions(filter),
        check_count("limit", limit),
        check_count("offset", offset),
        refresh,
    )


def listing(patterns: Sequence[tuple[Sequence[str], bool]], *, depth: int | None, limit: int, offset: int) -> Listing:
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 1):
        raise InvalidInputError(f"max_depth must be a whole number from 1, not {depth!r}")
    return Listing(
        json.dumps([{"labels": list(labels), "at_end": at_end} for labels, at_end in patterns]),
        ANY_DEPTH if depth is None else min(depth, ANY_DEPTH),
        check_count("limit", limit),
        check_count("offset", offset),
    )


def save(namespace: Sequence[str], key: str, value: Any, *, text: str | None, ttl: float | None) -> Change:
    """Save a value under an address.

    Args:
        text: what search reads; None for the words of the key and the value, "" for nothing.
        ttl: seconds.
    """
    draft = drafting.draft(
        key,
        value,
        namespace=namespace,
        text=text or None,
        metadata=None,
        importance=0.5,
        thread_id=None,
        position=None,
        occurred_at=None,
        expires_in=None,
    )
    draft = replace(draft, text="") if text == "" else draft
    return Change(draft.namespace, draft.key, draft, check_seconds("ttl", ttl))


def delete(namespace: Sequence[str], key: str) -> Change:
    return Change(check_namespace(namespace), check_identifier("key", key), None)


def texts(questions: Sequence[Question], changes: Sequence[Change]) -> list[str]:
    """What is to be embedded before these are asked and made."""
    asked = [question.query for question in questions if isinstance(question, Search) and question.query]
    return asked + [change.draft.text for change in changes if change.draft is not None and change.draft.text]


def read(owner: str, questions: Sequence[Question], embedded: Mapping[str, Embedded]) -> Operation[list[Answer]]:
    """Answer questions: at least one, all in one round trip.

    It counts as a read although it may refresh: it can be repeated, and while memory is down nothing waits for it.

    Args:
        embedded: the vectors of the queries.
    """
    parts: list[Operation[Any]] = []
    picks: list[Callable[[list[Any]], Answer]] = []
    places: dict[bool, int] = {}
    for refresh in (True, False):
        gets = [question for question in questions if isinstance(question, Get) and question.refresh is refresh]
        if gets:
            places[refresh] = len(parts)
            parts.append(_got(owner, gets, refresh))
    for question in questions:
        if isinstance(question, Get):
            picks.append(_picked(places[question.refresh], (tuple(question.namespace), question.key)))
        else:
            picks.append(_picked(len(parts)))
            parts.append(
                _found(owner, question, embedded) if isinstance(question, Search) else _listed(owner, question)
            )
    batch = together("store.read", parts)

    def answers(results: list[Any]) -> list[Answer]:
        return [pick(results) for pick in picks]

    return replace(batch, parse=lambda rows: answers(batch.parse(rows)), fallback=answers(batch.fallback))


def write(owner: str, changes: Sequence[Change], embedded: Mapping[str, Embedded]) -> Operation[None]:
    """Make changes to addresses that differ, all or none of them.

    Args:
        embedded: the vectors of the drafts' texts.
    """
    drafts = [change.draft for change in changes]
    vectors = [Embedded() if draft is None or not draft.text else embedded[draft.text] for draft in drafts]
    return Operation(
        statement="store.write",
        owner=owner,
        parameters={
            "owner": owner,
            "namespaces": [namespace_array(change.namespace) for change in changes],
            "keys": [change.key for change in changes],
            "values": [None if draft is None else draft.value for draft in drafts],
            "texts": [None if draft is None else draft.text for draft in drafts],
            "embeddings": [vector.vector for vector in vectors],
            "embedding_models": [vector.model for vector in vectors],
            "content_hashes": [b"" if draft is None else draft.content_hash for draft in drafts],
            "ttls": [change.ttl for change in changes],
            "locks": [memories.key_lock(owner, change.namespace, change.key) for change in changes],
        },
        parse=lambda rows: None,
        fallback=None,
        writes=True,
        first="store.lock",
    )


def owners_of_expired() -> Operation[list[str]]:
    """Some of those who have something to sweep."""
    return Operation(
        statement="store.owners_of_expired",
        owner=EXPIRED,
        parameters={"limit": SWEPT_AT_ONCE},
        parse=lambda rows: [owner for (owner,) in rows],
        fallback=[],
    )


def sweep(owner: str) -> Operation[int]:
    """Erase some of what has expired, and say how many memories that was.

    It can be repeated, and while memory is down nothing waits for it: it is no write that somebody would miss.
    """
    return Operation(
        statement="store.sweep",
        owner=owner,
        parameters={"owner": owner, "limit": SWEPT_AT_ONCE},
        parse=lambda rows: int(rows[0][0]),
        fallback=0,
    )


def conditions(filter: Mapping[str, Any] | None) -> str:
    """What a filter on the fields of values asks for, for ``{matches}``.

    A field that is not there counts as null. Only numbers with numbers, and strings with strings, are more or less.

    Raises:
        InvalidInputError: the filter is not JSON, or an operator is not known.
    """
    encode_metadata({} if filter is None else filter, "filter")
    return json.dumps(list(_conditions(filter or {}, ())))


def _got(owner: str, gets: Sequence[Get], refresh: bool) -> Operation[dict[tuple[tuple[str, ...], str], StoredItem]]:
    distinct = dict.fromkeys((tuple(asked.namespace), asked.key) for asked in gets)
    return Operation(
        statement="store.refreshing_get" if refresh else "store.get",
        owner=owner,
        parameters={
            "owner": owner,
            "namespaces": [namespace_array(namespace) for namespace, _ in distinct],
            "keys": [key for _, key in distinct],
        },
        parse=lambda rows: {(item.namespace, item.key): item for item in _items(rows)},
        fallback={},
    )


def _found(owner: str, asked: Search, embedded: Mapping[str, Embedded]) -> Operation[list[StoredItem]]:
    if asked.query is None:
        plain: Operation[Any] = memories.items(
            owner,
            namespace=asked.namespace,
            filter=None,
            limit=asked.limit,
            offset=asked.offset,
            conditions=asked.conditions,
        )
        name = "items"
    else:
        vector = embedded[asked.query]
        plain = recall.search(
            owner,
            [recall.question(asked.query, whole=vector.vector)],
            model=vector.model,
            namespace=asked.namespace,
            limit=asked.offset + asked.limit,
            conditions=asked.conditions,
        )
        name = "search"
    return replace(
        plain,
        statement=f"store.refreshing_{name}" if asked.refresh else f"store.{name}",
        parameters={**plain.parameters, "offset": asked.offset},
        parse=_items,
        fallback=[],
    )


def _listed(owner: str, asked: Listing) -> Operation[list[tuple[str, ...]]]:
    return Operation(
        statement="store.namespaces",
        owner=owner,
        parameters={
            "owner": owner,
            "patterns": asked.patterns,
            "depth": asked.depth,
            "limit": asked.limit,
            "offset": asked.offset,
        },
        parse=lambda rows: [tuple(namespace) for (namespace,) in rows],
        fallback=[],
    )


def _picked(place: int, address: tuple[tuple[str, ...], str] | None = None) -> Callable[[list[Any]], Answer]:
    """Takes the answer to one question out of the results of the parts."""
    if address is None:
        return lambda results: results[place]
    return lambda results: results[place].get(address)


def namespace_array(labels: Sequence[str]) -> str:
    """Labels as the text of an array, whose quoting is JSON's for all that a label may hold."""
    return f"{{{json.dumps(labels, ensure_ascii=False)[1:-1]}}}"


def _items(rows: Rows) -> list[StoredItem]:
    return [
        StoredItem(tuple(namespace), key, json.loads(value), created_at, updated_at, score)
        for namespace, key, _, value, created_at, updated_at, score in rows
    ]


def _conditions(filter: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for name, wanted in filter.items():
        field = (*path, name)
        if not isinstance(wanted, Mapping):
            yield {"path": field, "operator": "$eq", "operand": wanted}
        elif any(key.startswith("$") for key in wanted):
            for operator, operand in wanted.items():
                if operator not in OPERATORS:
                    raise InvalidInputError(f"a filter knows {', '.join(OPERATORS)}, not {operator!r}")
                yield {"path": field, "operator": operator, "operand": operand}
        else:
            yield {"path": field, "operator": "is object"}
            yield from _conditions(wanted, field)
