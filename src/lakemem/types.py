"""The values that lakemem takes and returns: frozen, and safe to print (no secret is in a repr)."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

JSONValue: TypeAlias = Mapping[str, Any] | Sequence[Any] | str | int | float | bool | None
Namespace: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Credential:
    """A password or token to log in to Postgres with.

    Attributes:
        token: the secret; it stays out of the repr.
        expires_in: seconds from its receipt until Postgres refuses it at login; None for never.
        user: the Postgres role it belongs to, where the credential itself decides that.
    """

    token: str = field(repr=False)
    expires_in: float | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Whose request this is, and which conversation it belongs to.

    Attributes:
        thread_id: the conversation.
        user_id: the user; verified where the app is deployed.
    """

    thread_id: str
    user_id: str

    @property
    def custom_outputs(self) -> dict[str, Any]:
        """What to return to the client, so that its next request continues the same thread."""
        return {"thread_id": self.thread_id}


@dataclass(frozen=True, slots=True)
class Message:
    """One item of a thread.

    Attributes:
        position: its place in the thread; it only grows, and is never given twice.
        item: the JSON object as it was appended.
        created_at: when it was stored.
    """

    position: int
    item: dict[str, Any] = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ThreadInfo:
    """What is known of a thread, beside its items.

    Attributes:
        thread_id: its id.
        created_at: when it began.
        updated_at: when it was last active: an item was appended, or a checkpoint stored.
        title: its name, for people; None where it was given none.
        metadata: what listings filter by.
        expires_at: when it is gone; None for never.
        lifetime: seconds that each append puts its end off to; None where that is fixed.
        forked_from: the thread it was forked from; None for one that began by itself.
        forked_position: the position it was forked at.
    """

    thread_id: str
    created_at: datetime
    updated_at: datetime
    title: str | None = field(default=None, repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    expires_at: datetime | None = None
    lifetime: float | None = None
    forked_from: str | None = None
    forked_position: int | None = None

    @property
    def cursor(self) -> str:
        """Where a listing goes on after this thread; it is of use for as long as you like."""
        return urlsafe_b64encode(f"{self.updated_at.isoformat()} {self.thread_id}".encode()).decode()


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What one run of an agent used, or several together.

    Attributes:
        input_tokens: what was sent to models, `cached_tokens` included.
        output_tokens: what models gave back, `reasoning_tokens` included.
        total_tokens: both together, as the models counted.
        cached_tokens: the part of the input that a model had seen before.
        reasoning_tokens: the part of the output that is not shown.
        requests: how often a model was called.
        runs: how many runs are counted here.
        models: the names of the models, as far as they are known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0
    runs: int = 0
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of the user, and what followed until the next one.

    Attributes:
        position: of the user's message.
        item: the user's message as it was appended.
        started_at: when it was stored.
        items: how many items the turn has, this one included.
        usage: what the runs of this turn used, as far as it was stored.
    """

    position: int
    item: dict[str, Any] = field(repr=False)
    started_at: datetime
    items: int
    usage: TokenUsage


@dataclass(frozen=True, slots=True)
class ThreadHit:
    """An item that a search of threads found.

    Attributes:
        thread_id: the thread it stands in.
        message: the item, with its position and time.
        score: how many of the words asked for stand in it, above 0 to 1; a rare word counts for more.
    """

    thread_id: str
    message: Message
    score: float

    @property
    def position(self) -> int:
        """The item's place in its thread."""
        return self.message.position

    @property
    def item(self) -> dict[str, Any]:
        """The JSON object as it was appended."""
        return self.message.item


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which checkpoints of a thread are kept: those that any of these rules keeps, and always the newest.

    Attributes:
        last: the newest ones, so many in each namespace; None for the newest alone.
        turn_ends: the last one of each turn, which has what the conversation had come to.
        younger_than: those stored within so many seconds.
    """

    last: int | None = None
    turn_ends: bool = False
    younger_than: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep removed.

    Attributes:
        threads: threads that had expired, with all that was in them.
        checkpoints: checkpoints that a retention does not keep.
        memories: memories that had expired, with their versions.
        marks: marks of writes that nobody repeats any more.
        runs: runs that ended long ago, with their events.
        run_events: events of runs that ended some time ago.
        quarantined: writes that were held back until their time was over.
    """

    threads: int = 0
    checkpoints: int = 0
    memories: int = 0
    marks: int = 0
    runs: int = 0
    run_events: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reembedded:
    """How far a change of the embedder has come. What is counted are versions of memories that have not expired.

    Attributes:
        model: the model of the embedder, with its dimensions.
        filled: what this call has given a vector of the model.
        moved: where this call has let that vector take the place of the one before.
        without_vector: what the embedder has no vector for, since it is blank or is refused; found by words.
        left: what has no vector of the model yet, the ones above included.
        models: how many have a vector of each model, by its name.
    """

    model: str
    filled: int = 0
    moved: int = 0
    without_vector: int = 0
    left: int = 0
    models: Mapping[str, int] = field(default_factory=dict)


MemoryKind: TypeAlias = Literal["fact", "turn"]
SaveOutcome: TypeAlias = Literal["saved", "linked", "merged", "unchanged", "kept", "quarantined"]
Trust: TypeAlias = Literal["user", "model", "tool", "unknown"]
"""Who said what a memory says, from the most trusted to the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import of an archive brought.

    Attributes:
        threads: threads that were not there.
        items: items that were not there.
        memories: versions of memories that were not there, or were still current here and no more in the archive.
        usage: what runs of agents used, where that was not there.
        checkpoints: checkpoints that were not there, with all that they consist of.
        runs: runs that were not there.
        run_events: events of runs that were not there.
    """

    threads: int = 0
    items: int = 0
    memories: int = 0
    usage: int = 0
    checkpoints: int = 0
    runs: int = 0
    run_events: int = 0

    def __add__(self, other: Imported) -> Imported:
        return Imported(
            threads=self.threads + other.threads,
            items=self.items + other.items,
            memories=self.memories + other.memories,
            usage=self.usage + other.usage,
            checkpoints=self.checkpoints + other.checkpoints,
            runs=self.runs + other.runs,
            run_events=self.run_events + other.run_events,
        )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Consolidated:
    """What a consolidation did, or for a dry run, would do.

    Attributes:
        owners: whose memories were gone through: users and shared scopes.
        merged: facts that were closed, since an older one says the same.
        decayed: memories whose importance has followed their age.
        closed: memories that were beyond a cap.
        candidates: pairs of facts that a matcher was asked about.
        dropped: what it said of others, which does not count.
        failed: questions to it that failed, or were not answered in time. After three in a row it is not asked again.
    """

    owners: int = 0
    merged: int = 0
    decayed: int = 0
    closed: int = 0
    candidates: int = 0
    dropped: int = 0
    failed: int = 0


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


@dataclass(frozen=True, slots=True)
class Health:
    """How memory is at the moment.

    Attributes:
        status: ``ok``; ``degraded`` while answers come without memory; ``down`` when Postgres does not answer.
        detail: what is wrong, in a sentence, and empty when nothing is.
        latency: seconds that one round trip to Postgres took; None when there was none.
        server_version: for example ``"18.4"``; None when unknown.
        schema_version: the number of the newest migration; None when unknown.
        row_level_security: whether Postgres confines this login to one user's rows. A superuser, or a role
            with BYPASSRLS, is not confined; None when unknown.
        pending_writes: accepted writes that wait for the database to come back.
        refused_writes: writes that were not accepted, because the buffer for them was full.
        failed_writes: accepted writes that Postgres refused for good when they were replayed.
    """

    status: Literal["ok", "degraded", "down"]
    detail: str = ""
    latency: float | None = None
    server_version: str | None = None
    schema_version: int | None = None
    row_level_security: bool | None = None
    pending_writes: int = 0
    refused_writes: int = 0
    failed_writes: int = 0

    @property
    def custom_outputs(self) -> dict[str, Any]:
        """A flag to return to the client beside the answer; empty when all is well."""
        return {} if self.status == "ok" else {"memory": self.status}


@dataclass(frozen=True, slots=True)
class SourceTurn:
    """A turn of a conversation, as an extractor sees it.

    Attributes:
        id: a small number, by which a proposal names it.
        speaker: who said it.
        text: what was said.
        occurred_at: when, if that is known.
        is_new: whether facts are wanted from it; the others went before it, and help to understand it.
    """

    id: int
    speaker: str
    text: str = field(repr=False)
    occurred_at: datetime | None = None
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class KnownMemory:
    """What is known already, as an extractor or a matcher sees it.

    Attributes:
        id: a small number, by which an answer names it.
        text: the fact.
        subject: what it is about, such as ``user.employer``, if it has one.
        occurred_at: when it happened, if that is known.
    """

    id: int
    text: str = field(repr=False)
    subject: str | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A fact that an extractor proposes to remember.

    Attributes:
        text: the fact, as a sentence that can be understood by itself.
        sources: the ids of the turns that say so.
        subject: what has one value at a time, such as ``user.employer``; None for a fact that stands beside others.
        supersedes: the id of the known memory that is no longer true; None where there is none.
        importance: 0 to 1.
        occurred_at: when it happened; None for when it was said.
    """

    text: str = field(repr=False)
    sources: Sequence[int]
    subject: str | None = None
    supersedes: int | None = None
    importance: float = 0.5
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Extraction:
    """What an extractor found in some turns.

    Attributes:
        proposals: what holds after every check.
        dropped: how much did not hold, by the reason.
        facts: the memories that were made of the proposals; none in a dry run.
    """

    proposals: tuple[Proposal, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    facts: tuple[MemoryRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that was given up after too many attempts. Nothing of what it was about is lost.

    Attributes:
        owner: ``user:ID`` or ``scope:ID``.
        kind: ``extract`` or ``embed``.
        attempts: how often it was tried.
        created_at: when it was queued.
        error: the name of the last error's class.
    """

    owner: str
    job_id: str
    kind: str
    attempts: int
    created_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """What a worker has done.

    Attributes:
        jobs: jobs that were completed.
        facts: facts that they saved.
        dropped: proposals, and parts of them, that did not hold.
        vectors: vectors that were filled in.
        failed: attempts that failed, and are made again.
        dead: jobs that were given up.
        lost: jobs that another worker had taken over in the meantime.
    """

    jobs: int = 0
    facts: int = 0
    dropped: int = 0
    vectors: int = 0
    failed: int = 0
    dead: int = 0
    lost: int = 0

    def __add__(self, other: Worked) -> Worked:
        return Worked(
            jobs=self.jobs + other.jobs,
            facts=self.facts + other.facts,
            dropped=self.dropped + other.dropped,
            vectors=self.vectors + other.vectors,
            failed=self.failed + other.failed,
            dead=self.dead + other.dead,
            lost=self.lost + other.lost,
        )
