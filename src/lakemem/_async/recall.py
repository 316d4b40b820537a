"""What an owner's memories have to say to a question."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lakemem import recalling
from lakemem._async.database import AsyncStorage
from lakemem._async.embeddings import AsyncEmbeddings
from lakemem.dates import mentioned_periods
from lakemem.errors import LakememError
from lakemem.memory_types import Hit, MemoryKind, Trust
from lakemem.operations import indexing, recall
from lakemem.operations.recall import DEFAULT_RANKING, Between, Found, Question
from lakemem.protocols import Reranker
from lakemem.questions import words_of
from lakemem.ranking import Ranking
from lakemem.recalling import Context
from lakemem.waiting import acall_blocking, monotonic

logger = logging.getLogger("lakemem")


class AsyncRecall:
    """Searches what one owner remembers.

    Args:
        also_read: the owners of shared scopes whose memories a search finds besides.
    """

    def __init__(
        self, storage: AsyncStorage, embeddings: AsyncEmbeddings, owner: str, also_read: Sequence[str] = ()
    ) -> None:
        self._storage = storage
        self._embeddings = embeddings
        self._owner = owner
        self._also_read = tuple(also_read)
        self._reads = (owner, *self._also_read)

    @property
    def owner(self) -> str:
        """``user:ID`` or ``scope:ID``."""
        return self._owner

    async def search(
        self,
        query: str,
        *,
        namespace: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        kind: MemoryKind | None = None,
        limit: int | None = 10,
        min_similarity: float | None = None,
        as_of: datetime | None = None,
        between: Between = (None, None),
        asked_at: datetime | None = None,
        neighbors: int = 0,
        ranking: Ranking = DEFAULT_RANKING,
        reranker: Reranker | None = None,
        rerank_deadline: float = 1.0,
        explain: bool = False,
        trust: Trust | None = None,
    ) -> list[Hit]:
        """Return the memories that fit a question best, by meaning and by words, the best first.

        Without an embedder, or while it is down, the search goes by words alone, and `Hit.arms` says so.

        Args:
            query: a question, or key words. A date or a period in it speaks for what happened then.
            namespace: the first labels of the namespaces to look in; by default all.
            filter: what their metadata must contain.
            kind: ``"fact"`` or ``"turn"``; by default both.
            limit: how many at the most; None for all.
            min_similarity: leave out what is less similar in meaning than this, -1 to 1. What has no vector to
                compare is found by its words all the same.
            as_of: search what was held true at this moment; by default now.
            between: (since, until): only what happened from the one moment on and before the other; None for no
                bound. What has no `occurred_at` counts as having happened when it was saved.
            asked_at: the moment that "yesterday" in the query refers to; by default now.
            neighbors: how many turns before and after each hit, in the same thread, to bring along; 20 at the most.
            ranking: what counts for how much.
            reranker: puts the best 50 into an order of its own.
            rerank_deadline: seconds to wait for it. Where it is late, or fails, the order of the search stands.
            explain: say of each hit how its score came about.
            trust: find only what counts for as much or more: ``"user"``, ``"model"``, ``"tool"``, from the most to
                the least. ``"user"`` finds nothing of the scopes that are also read: somebody else has said that.

        Raises:
            InvalidInputError: an argument is not what it should be.
        """
        found = await self.search_many(
            [query],
            namespace=namespace,
            filter=filter,
            kind=kind,
            limit=limit if reranker is None or limit is None else max(limit, recall.RERANKED),
            min_similarity=min_similarity,
            as_of=as_of,
            between=between,
            asked_at=asked_at,
            neighbors=neighbors,
            ranking=ranking,
            explain=explain,
            trust=trust,
        )
        if reranker is None:
            return found[0]
        return (await self._reranked(query, found[0], reranker, rerank_deadline))[:limit]

    async def context(
        self,
        query: str,
        *,
        max_tokens: int = recalling.MAX_TOKENS,
        namespace: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        kind: MemoryKind | None = None,
        limit: int = 20,
        neighbors: int = 1,
        min_similarity: float | None = None,
        as_of: datetime | None = None,
        asked_at: datetime | None = None,
        ranking: Ranking = DEFAULT_RANKING,
        trust: Trust | None = None,
        count: Callable[[str], int] = recalling.estimate_text_tokens,
    ) -> Context:
        """Search, and write what is found down for a model's instructions.

        Each memory stands there once, with its date, as data that the model is told not to obey; turns beside each
        other are one passage. See :func:`lakemem.recalling.context`.

        Args:
            query: what the user said, or a question about it.
            max_tokens: what the text may take.
            namespace, filter, kind, min_similarity, as_of, asked_at, ranking, trust: as in :meth:`search`.
            limit: memories at the most.
            neighbors: how many turns before and after each to tell, where there is room.
            count: says how many tokens a text takes; by default one for every 4 bytes.
        """
        hits = await self.search(
            query,
            namespace=namespace,
            filter=filter,
            kind=kind,
            limit=limit,
            neighbors=neighbors,
            min_similarity=min_similarity,
            as_of=as_of,
            asked_at=asked_at,
            ranking=ranking,
            trust=trust,
        )
        return recalling.context(hits, max_tokens=max_tokens, count=count)

    async def search_many(
        self,
        queries: Sequence[str],
        *,
        namespace: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        kind: MemoryKind | None = None,
        limit: int | None = 10,
        min_similarity: float | None = None,
        as_of: datetime | None = None,
        between: Between = (None, None),
        asked_at: datetime | None = None,
        neighbors: int = 0,
        ranking: Ranking = DEFAULT_RANKING,
        explain: bool = False,
        trust: Trust | None = None,
    ) -> list[list[Hit]]:
        """Ask several questions in one statement, and return what :meth:`search` returns for each."""
        asked = [recall.check_query(query) for query in queries]
        if not asked:
            return []
        started = monotonic()
        model, questions = await self._questions(asked, asked_at, ranking)
        embedded = monotonic()
        operation = recall.search(
            self._owner,
            questions,
            model=model,
            also_read=self._also_read,
            namespace=namespace,
            filter=filter,
            kind=kind,
            limit=limit,
            min_similarity=min_similarity,
            as_of=as_of,
            between=between,
            neighbors=neighbors,
            ranking=ranking,
            explain=explain,
            trust=trust,
            is_indexed=self._embeddings.large_scopes.is_indexed(self._reads),
        )
        found = await self._storage.run(operation)
        times = {"embedding_seconds": embedded - started, "search_seconds": monotonic() - embedded}
        for question, some in zip(questions, found, strict=True):
            if some.common is not None:
                self._embeddings.common_words.learn(self._owner, question.words, some.common)
        await self._note_size(found[0])
        return [[recall.timed(hit, **times) for hit in some.hits] for some in found]

    async def _note_size(self, found: Found) -> None:
        """Remember which scopes are large, and ask for an index of them where it would pay."""
        if found.memories is None or not self._embeddings.is_configured:
            return
        if self._embeddings.large_scopes.learn(self._reads, found.memories, found.unindexed):
            for owner in self._reads:
                try:
                    await self._storage.run(indexing.queue(owner))
                except LakememError as error:
                    logger.warning("no index can be asked for, and searches of this scope stay slow: %s", error)

    async def _reranked(self, query: str, hits: list[Hit], reranker: Reranker, deadline: float) -> list[Hit]:
        best, others = hits[: recall.RERANKED], hits[recall.RERANKED :]
        texts = [hit.text for hit in best]
        try:
            scores = await acall_blocking(lambda: list(reranker.rerank(query, texts)), deadline=deadline)
            return recall.reranked(best, scores) + others
        except Exception as error:
            # The words of a foreign error may quote a memory.
            logger.warning("the reranker failed with %s: the order of the search stands", type(error).__name__)
            return hits

    async def _questions(
        self, queries: Sequence[str], asked_at: datetime | None, ranking: Ranking
    ) -> tuple[str | None, list[Question]]:
        """The questions with their vectors, all asked for at once, and the model that made these."""
        common = self._embeddings.common_words
        told = [None if ranking.is_nearest else common.without(self._owner, words_of(query)) for query in queries]
        texts = [*queries, *told] if ranking.dense else [None] * (2 * len(queries))
        vectors = await self._embeddings.embed_all(texts)
        now = datetime.now(UTC) if asked_at is None else asked_at
        questions = []
        for query, whole, part in zip(queries, vectors, vectors[len(queries) :], strict=False):
            questions.append(
                recall.question(
                    query,
                    whole=whole.vector,
                    reduced=part.vector,
                    periods=mentioned_periods(query, now) if ranking.period else (),
                )
            )
        return next((vector.model for vector in vectors if vector.model is not None), None), questions

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._owner}>"
