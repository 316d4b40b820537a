"""Searches of long-term memory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from lakemem.dates import Period
from lakemem.errors import InvalidInputError
from lakemem.memory_types import Explanation, Hit, MemoryKind, MemoryRecord, SearchArm, Trust
from lakemem.operations import Operation, Rows
from lakemem.operations.indexing import LARGE
from lakemem.operations.records import COLUMNS, record
from lakemem.questions import names_in, words_of
from lakemem.ranking import Ranking
from lakemem.trust import at_least
from lakemem.validation import (
    check_count,
    check_datetime,
    check_fraction,
    check_limit,
    check_namespace,
    check_text,
    encode_metadata,
    indexable,
)

NO_CONDITIONS = "[]"
MAX_NEIGHBORS = 20
RERANKED = 50
"""How many hits a reranker is shown."""
DEFAULT_RANKING = Ranking()
PROBES = {"search": 96, "nearest": 128}
"""Cells of an index in which a question looks for what is near: fewer where words find candidates, too."""
POSTINGS = 10_000
"""How many memories the rarest words of a question may stand in, before commoner ones bring no candidates."""

Between = tuple[datetime | None, datetime | None]


@dataclass(frozen=True, slots=True)
class Question:
    """A question, ready to be asked.

    Attributes:
        whole: the vector of the question; None without one.
        reduced: the vector of the question without its common words; None without one. The dense arm compares with the
            vector half-way between the two.
        words: its words, of which the search says which are common.
        names: what in it may stand in the metadata of a memory.
        periods: the periods that it names.
    """

    query: str = field(repr=False)
    whole: str | None = field(default=None, repr=False)
    reduced: str | None = field(default=None, repr=False)
    words: tuple[str, ...] = field(default=(), repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)
    periods: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found for one question.

    Attributes:
        common: those of its words that tell little apart in this scope; None where that is not known.
        memories: how many there are; None where that is not known, or some of them did not count.
        unindexed: how many of these are in no index.
    """

    hits: list[Hit]
    common: tuple[str, ...] | None = None
    memories: int | None = None
    unindexed: int = 0


def check_query(query: str) -> str:
    """The question, checked before anything is asked of the embedder."""
    return indexable(check_text("query", query))


def question(
    query: str, *, whole: str | None = None, reduced: str | None = None, periods: Sequence[Period] = ()
) -> Question:
    """A question with its vector, and that of the question without its common words, if it has any."""
    words = words_of(query)
    return Question(
        query=query,
        whole=whole,
        reduced=reduced,
        words=tuple(words),
        names=tuple(names_in(words)),
        periods=tuple(_period_row(period) for period in periods),
    )


def _period_row(period: Period) -> dict[str, Any]:
    if period.month is not None:
        return {"month": period.month, "day": period.day}
    return {"since": period.start.isoformat(), "until": period.end.isoformat()}


def search(
    owner: str,
    questions: Sequence[Question],
    *,
    model: str | None,
    also_read: Sequence[str] = (),
    namespace: Sequence[str] = (),
    filter: Mapping[str, Any] | None = None,
    conditions: str = NO_CONDITIONS,
    kind: MemoryKind | None = None,
    limit: int | None = 10,
    min_similarity: float | None = None,
    as_of: datetime | None = None,
    between: Between = (None, None),
    neighbors: int = 0,
    ranking: Ranking = DEFAULT_RANKING,
    explain: bool = False,
    trust: Trust | None = None,
    is_indexed: bool = False,
) -> Operation[list[Found]]:
    """Ask questions: one statement for all of them, and what was found for each.

    Args:
        model: the one that made the vectors of the questions.
        also_read: owners whose memories may be found besides.
        is_indexed: whether to look for candidates in an index; that is right, but slow, where there is none.
    """
    arms = _arms(ranking, has_vectors=any(question.whole is not None for question in questions))
    since, until = _period(between)
    labels = check_namespace(namespace)
    limit = check_limit(limit)
    is_narrowed = bool(filter) or conditions != NO_CONDITIONS or kind is not None or trust is not None
    # An index knows all that is current, and its candidates are some hundreds.
    serves = not (is_narrowed or labels or as_of or since or until or limit is None or limit > ranking.shortlist)
    statement = "nearest" if ranking.is_nearest and arms == ("dense",) else "search"
    return Operation(
        statement=f"{'indexed' if is_indexed and serves else 'recall'}.{statement}",
        first="recall.settings",
        owner=owner,
        parameters={
            "owner": owner,
            # What others say is not said by this user.
            "also_read": [] if trust == "user" else list(also_read),
            "questions": json.dumps([_asked(number, question) for number, question in enumerate(questions)]),
            "model": model,
            "namespace": labels,
            "depth": len(labels),
            "narrowed": is_narrowed,
            "filter": encode_metadata({} if filter is None else filter, "filter"),
            "conditions": conditions,
            "kind": _kind(kind),
            "trusts": at_least(trust),
            "limit": limit,
            "min_similarity": _similarity(min_similarity),
            "as_of": check_datetime("as_of", as_of),
            "since": since,
            "until": until,
            "neighbors": min(check_count("neighbors", neighbors), MAX_NEIGHBORS),
            "large": LARGE,
            "probes": PROBES[statement],
            "postings": POSTINGS,
            "candidates": 5 * ranking.shortlist // 2,
            **_weights(ranking, arms, limit, explain),
        },
        parse=lambda rows: _found(rows, len(questions), arms, explain, is_whole=serves),
        fallback=[Found([]) for _ in questions],
    )


def reranked(hits: Sequence[Hit], scores: Sequence[float]) -> list[Hit]:
    """Hits in the order of a reranker's scores; of equal ones the better hit first.

    Raises:
        InvalidInputError: these are not as many finite numbers as there are hits.
    """
    if len(scores) != len(hits) or not all(math.isfinite(score) for score in scores):
        raise InvalidInputError("a reranker returns one finite number a text")
    told = [replace(hit, reranked=float(score)) for hit, score in zip(hits, scores, strict=True)]
    return sorted(told, key=lambda hit: -(hit.reranked or 0.0))


def timed(hit: Hit, *, embedding_seconds: float, search_seconds: float) -> Hit:
    """A hit whose explanation says how long it took."""
    if hit.explanation is None:
        return hit
    explanation = replace(hit.explanation, embedding_seconds=embedding_seconds, search_seconds=search_seconds)
    return replace(hit, explanation=explanation)


def _asked(number: int, question: Question) -> dict[str, Any]:
    return {
        "number": number,
        "query": question.query,
        "whole": question.whole,
        "reduced": question.reduced,
        "words": question.words,
        "names": question.names,
        "periods": question.periods,
    }


def _arms(ranking: Ranking, *, has_vectors: bool) -> tuple[SearchArm, ...]:
    """The arms that take part. Without a vector the words are all there is to go by."""
    if not has_vectors:
        return ("lexical",)
    if not ranking.lexical:
        return ("dense",)
    return ("dense", "lexical") if ranking.dense else ("lexical",)


def _weights(ranking: Ranking, arms: tuple[SearchArm, ...], limit: int | None, explain: bool) -> dict[str, Any]:
    dense = ranking.dense if "dense" in arms else 0.0
    lexical = (ranking.lexical or 1.0) if "lexical" in arms else 0.0
    return {
        "dense": dense,
        "lexical": lexical,
        "beside": ranking.beside,
        "thread": ranking.thread,
        "period": ranking.period,
        "label": ranking.label,
        "importance": ranking.importance,
        "recency": ranking.recency,
        "half_life": ranking.half_life,
        "saturation": ranking.saturation,
        "length_share": ranking.length_share,
        "rrf": ranking.rrf,
        "tells_ranks": explain or ranking.rrf is not None,
        "shortlist": None if limit is None else max(ranking.shortlist, limit),
        "small": ranking.best_rank,
        "whole": (dense + lexical) * ranking.best_rank,
    }


def _period(between: Between) -> tuple[datetime | None, datetime | None]:
    since, until = between
    since, until = check_datetime("between", since), check_datetime("between", until)
    if since is not None and until is not None and since >= until:
        raise InvalidInputError("between must be (since, until), and since the earlier one")
    return since, until


def _similarity(least: float | None) -> float | None:
    return None if least is None else check_fraction("min_similarity", least, least=-1)


def _kind(kind: str | None) -> Literal["fact", "turn"] | None:
    if kind not in (None, "fact", "turn"):
        raise InvalidInputError("kind must be 'fact', 'turn' or None")
    return kind  # type: ignore[return-value]


def _found(rows: Rows, questions: int, arms: tuple[SearchArm, ...], explain: bool, *, is_whole: bool) -> list[Found]:
    hits: list[list[Hit]] = [[] for _ in range(questions)]
    scopes = [Found([])] * questions
    for row in rows:
        number, hit, scopes[row[COLUMNS]] = _hit(row, arms, explain)
        hits[number].append(hit)
    return [
        replace(scope, hits=some, memories=scope.memories if is_whole else None)
        for scope, some in zip(scopes, hits, strict=True)
    ]


def _hit(row: tuple[Any, ...], arms: tuple[SearchArm, ...], explain: bool) -> tuple[int, Hit, Found]:
    (
        number,
        score,
        similarity,
        dense,
        lexical,
        terms,
        dense_rank,
        lexical_rank,
        beside,
        of_thread,
        in_period,
        labelled,
        memories,
        unindexed,
        common,
        turns,
    ) = row[COLUMNS:]
    explanation = Explanation(
        dense_rank=dense_rank,
        lexical_rank=lexical_rank,
        beside=beside,
        of_thread=of_thread,
        in_period=in_period,
        labelled=labelled,
        memories=memories,
        embedding_seconds=0.0,
        search_seconds=0.0,
    )
    hit = Hit(
        record=record(row),
        score=score,
        similarity=similarity,
        dense=dense if "dense" in arms else None,
        lexical=lexical,
        matched_terms=tuple(terms or ()),
        arms=arms,
        neighbors=() if turns is None else tuple(_turn(turn) for turn in json.loads(turns)),
        explanation=explanation if explain else None,
    )
    words = None if memories is None or "lexical" not in arms else tuple(common or ())
    return number, hit, Found([], words, memories, unindexed or 0)


def _turn(columns: list[Any]) -> MemoryRecord:
    """A record whose row came as JSON, in which a moment is a text."""
    return record(tuple(_moment(value) if place in _MOMENTS else value for place, value in enumerate(columns)))


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


_MOMENTS = {6, 7, 8, 9, 18}
"""Which columns of a record are moments: valid_from, valid_to, occurred_at, expires_at, created_at."""
