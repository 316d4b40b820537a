"""Memories, how they were saved, and how a search found them: frozen, and safe to print."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from lakemem.types import Namespace

MemoryKind: TypeAlias = Literal["fact", "turn"]
SaveOutcome: TypeAlias = Literal["saved", "linked", "merged", "unchanged", "kept", "quarantined"]
Trust: TypeAlias = Literal["user", "model", "tool", "unknown"]
"""Who said what a memory says, from the most trusted to the least."""


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """One version of one memory.

    Attributes:
        namespace: where its key belongs; empty for the root.
        key: its name within the namespace.
        value: the JSON value.
        metadata: what listings and searches filter by.
        version: 1 for the first; 0 for a write that is accepted and waits for the database to come back.
        text: what search reads, derived from key and value unless it was given.
        occurred_at: when the remembered thing happened, if that is known.
        expires_at: when it is forgotten; None for never.
        valid_from: since when this version holds: when it was saved, unless another moment was given.
        valid_to: when it stopped being current; None while it is.
        embedded: whether search by meaning can find it, or only search by words.
        owner: ``user:ID`` or ``scope:ID``; empty where it is not known.
        kind: ``"turn"`` for what was said in a conversation, ``"fact"`` for all else.
        thread_id: the thread it was learnt from.
        position: the item there.
        importance: 0 to 1.
        sources: the keys of the memories, in the same namespace, that it was made of.
        similar_to: the keys of those, in the same namespace, that say nearly the same.
        created_at: when its first version was saved.
        superseded_by: the version that took its place; None for the current one, and for one that was deleted.
        outcome: what saving it has done. ``"saved"``: this is a new version. ``"linked"``: it is, and `similar_to`
            names memories that say nearly the same. ``"merged"``: this is an older memory that says the same in the
            same words; nothing was added. ``"unchanged"``: this was there already, under this key. None for what
            was not just saved. It does not count when records are compared.
    """

    namespace: Namespace
    key: str
    value: Any = field(repr=False)
    text: str = field(repr=False)
    metadata: dict[str, Any] = field(repr=False)
    version: int
    valid_from: datetime
    valid_to: datetime | None = None
    occurred_at: datetime | None = None
    expires_at: datetime | None = None
    embedded: bool = False
    owner: str = ""
    kind: MemoryKind = "fact"
    thread_id: str | None = None
    position: int | None = None
    importance: float = 0.5
    sources: tuple[str, ...] = ()
    similar_to: tuple[str, ...] = ()
    created_at: datetime | None = None
    superseded_by: int | None = None
    outcome: SaveOutcome | None = field(default=None, compare=False)
    trust: Trust = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedWrite:
    """What is about to be stored, as a policy sees it; after redaction.

    Attributes:
        owner: ``user:ID`` or ``scope:ID``.
        namespace: where it belongs.
        key: its name; None where that is made of its content.
        text: what it says, as search would read it.
        kind: ``"turn"`` for what was said in a conversation, ``"fact"`` for all else.
        trust: who says it.
    """

    owner: str
    namespace: Namespace
    key: str | None
    text: str = field(repr=False)
    kind: MemoryKind
    trust: Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedWrite:
    """A write that a policy holds back. Nothing reads it but those who decide on it.

    Attributes:
        id: what to release or reject it by.
        owner: ``user:ID`` or ``scope:ID``.
        reason: why it is held back, as the policy says.
        action: what was to be done: ``"save"``, ``"update"`` or ``"remember"``.
        trust: who said it.
        namespace: where the memory belongs.
        key: its name.
        text: what it says.
        held_at: since when it is held back.
        expires_at: when it is removed, unless it is released before.
    """

    id: str
    owner: str
    reason: str
    action: Literal["save", "update", "remember"]
    trust: Trust
    namespace: Namespace
    key: str
    text: str = field(repr=False)
    held_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicatePolicy:
    """What counts as nearly the same, among the facts of a namespace whose keys are made of their content.

    Two texts are one memory only if they say the same in the same words, in one order: upper and lower case,
    punctuation at the end of a word, "the", and "n't" for "not" make no difference. With a high similarity, neither do
    plurals and forms of a verb but those in "-ed", nor "a", "is" and the like. Whatever else differs, a number, a
    name, a "not" or a "before", keeps both: similarity alone cannot tell, for a sentence of which one such word is
    another has a similarity of up to 0.99. Those are linked.

    Attributes:
        merge: similarity, 0 to 1, from which texts that differ only in such forms of words are one memory.
        link: similarity from which one names the other in `similar_to`.
        overlap: the share of their words (stemmed) that two have in common, 0 to 1, from which it does so, too.
    """

    merge: float = 0.95
    link: float = 0.8
    overlap: float = 0.6


SearchArm: TypeAlias = Literal["dense", "lexical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How the score of a hit came about, and how long the search took.

    Attributes:
        dense_rank: its place by the dense arm among all memories of the scope, 1 for the best; None without one.
        lexical_rank: its place by the lexical arm; None where no word matched.
        beside: the share that it takes over from a turn beside it, before its weight; None without one.
        of_thread: the best share in its thread, before its weight; None outside of a thread.
        in_period: whether it happened in a period that the question names.
        labelled: whether the question names a text of its metadata, and no other memory's.
        memories: how many memories the scope has.
        embedding_seconds: how long the embedder took, for all questions of the call.
        search_seconds: how long Postgres took, the way there and back included, for all questions of the call.
    """

    dense_rank: int | None
    lexical_rank: int | None
    beside: float | None
    of_thread: float | None
    in_period: bool
    labelled: bool
    memories: int
    embedding_seconds: float
    search_seconds: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A memory that a search found, and why.

    Attributes:
        record: the memory.
        score: what the hits are ordered by, comparable within one search only.
        similarity: cosine similarity of query and memory, -1 to 1; None where one of them has no embedding.
        dense: the dense arm's share of the score, 0 to 1; None where that arm said nothing of this memory.
        lexical: the lexical arm's share of the score, 0 to 1; None where no word matched.
        matched_terms: the query's words (stemmed) that stand in the memory, the rarest first.
        arms: the arms that took part in this search; ``("lexical",)`` when there is no embedding to compare.
        neighbors: the turns of its thread that stand around it, in their order, where a search was asked for them.
        explanation: how the score came about, where a search was asked for it.
        reranked: what a reranker said of it; None without one, and where it was too late.
    """

    record: MemoryRecord
    score: float
    similarity: float | None
    dense: float | None
    lexical: float | None
    matched_terms: tuple[str, ...]
    arms: tuple[SearchArm, ...]
    neighbors: tuple[MemoryRecord, ...] = field(default=(), repr=False)
    explanation: Explanation | None = None
    reranked: float | None = None

    @property
    def key(self) -> str:
        """The memory's key."""
        return self.record.key

    @property
    def value(self) -> Any:
        """The memory's value."""
        return self.record.value

    @property
    def text(self) -> str:
        """The memory's text, as search read it."""
        return self.record.text
