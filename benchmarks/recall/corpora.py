"""Conversations with questions whose answers stand in known turns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OWN = Path(__file__).resolve().parents[2] / "tests" / "data" / "recall.jsonl"
"""A small corpus that was written for this project, of people who do not exist."""

LOCOMO_CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
APART = {"adversarial"}
"""Categories that do not count in the average: their questions have a wrong premise."""


class CorpusError(Exception):
    """A file does not have the shape that it should have."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody said.

    Attributes:
        scope: whose memory it belongs to; a question finds turns of its own scope only.
        text: "speaker: what they said", and what a picture shows that they sent.
    """

    id: str
    scope: str
    thread: str
    position: int
    speaker: str
    text: str
    date: datetime | None


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks, and `gold`: the ids of all turns that the answer needs."""

    scope: str
    text: str
    gold: frozenset[str]
    category: str = "all"
    date: datetime | None = None


@dataclass(frozen=True)
class Corpus:
    """Turns and questions.

    Attributes:
        notes: what had to be repaired or left out.
    """

    name: str
    turns: Sequence[Turn]
    questions: Sequence[Question]
    notes: Sequence[str] = ()
    by_scope: Mapping[str, list[Turn]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_scope: dict[str, list[Turn]] = {}
        for turn in self.turns:
            by_scope.setdefault(turn.scope, []).append(turn)
        object.__setattr__(self, "by_scope", by_scope)

    @property
    def texts(self) -> list[str]:
        """Everything that is embedded."""
        return [*[turn.text for turn in self.turns], *[question.text for question in self.questions]]

    def part(self, scopes: int, questions: int) -> Corpus:
        """The first scopes, and questions that are spread over what is asked of them."""
        kept = list(self.by_scope)[:scopes]
        asked = [question for question in self.questions if question.scope in kept]
        step = max(len(asked) // questions, 1)
        turns = [turn for turn in self.turns if turn.scope in kept]
        return Corpus(self.name, turns, asked[::step][:questions], self.notes)


def chosen(environment: Mapping[str, str]) -> tuple[Corpus, str]:
    """The corpus that `LOCOMO` or `CORPUS` names, or the project's own, and a sentence that says which.

    Raises:
        CorpusError: both are set, the file is not there, or it has another shape.
    """
    named = {name: environment[name] for name in ("LOCOMO", "CORPUS") if environment.get(name)}
    if len(named) > 1:
        raise CorpusError("both LOCOMO and CORPUS are set: name one corpus")
    for name, path in named.items():
        corpus = {"LOCOMO": read_locomo, "CORPUS": read_jsonl}[name](Path(path))
        return corpus, f"corpus: {described(corpus)}"
    corpus = read_jsonl(OWN)
    return corpus, (
        f"corpus: neither LOCOMO=path nor CORPUS=path is set, so it is the project's own, {described(corpus)}. "
        "It is small; the goals are for the development conversations of LoCoMo"
    )


def described(corpus: Corpus) -> str:
    asked = sum(question.category not in APART for question in corpus.questions)
    apart = len(corpus.questions) - asked
    also = f" and {apart} adversarial ones" if apart else ""
    counted = f"{len(corpus.turns):,} turns in {len(corpus.by_scope)} scopes, {asked:,} questions{also}"
    return "; ".join([f"{corpus.name}, {counted}", *corpus.notes])


def read_jsonl(path: Path) -> Corpus:
    """A corpus of lines with the kinds "turn" and "question"; docs/explanation/long-term-benchmarks.md has the shape.

    Raises:
        CorpusError: the file is not there, or a line is not of this shape.
    """
    turns: dict[str, Turn] = {}
    questions: list[Question] = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            try:
                record = json.loads(line)
                if record["kind"] == "turn":
                    turn = _turn(record)
                    if turn.id in turns:
                        raise ValueError("this id was there before")
                    turns[turn.id] = turn
                elif record["kind"] == "question":
                    questions.append(_question(record))
                else:
                    raise ValueError('"kind" is neither "turn" nor "question"')
            except (ValueError, TypeError, KeyError) as error:
                raise CorpusError(f"{path}, line {number}: {type(error).__name__}: {error}") from None
    for question in questions:
        for missing in [id for id in question.gold if id not in turns or turns[id].scope != question.scope]:
            raise CorpusError(f"{path}: a question of {question.scope} needs {missing}, which is no turn of that scope")
    return Corpus(path.name, list(turns.values()), [question for question in questions if question.gold])


def _turn(record: Mapping[str, Any]) -> Turn:
    return Turn(
        id=record["id"],
        scope=record["scope"],
        thread=record["thread"],
        position=record["position"],
        speaker=record["speaker"],
        text=f"{record['speaker']}: {record['text']}",
        date=_date(record.get("date")),
    )


def _question(record: Mapping[str, Any]) -> Question:
    return Question(
        scope=record["scope"],
        text=record["text"],
        gold=frozenset(record["gold"]),
        category=record.get("category", "all"),
        date=_date(record.get("date")),
    )


def _date(text: str | None) -> datetime | None:
    """A date, or a date with a time, by ISO 8601; UTC where it does not say."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_locomo(path: Path) -> Corpus:
    """A file of the shape of LoCoMo: a list of `{sample_id, conversation, qa}`, each conversation a scope of its own.

    Evidence that names a turn in another spelling is repaired, and what names none is dropped: `notes` says how often.

    Raises:
        CorpusError: the file is not there, or has another shape.
    """
    try:
        samples = json.loads(_text(path))
        read = [_conversation(sample) for sample in samples]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorpusError(f"{path} does not have the shape of LoCoMo: {type(error).__name__}: {error}") from None
    repaired, dropped = (sum(counts) for counts in zip(*[counts for _, _, counts in read], strict=True))
    questions = [question for _, asked, _ in read for question in asked]
    evident = [question for question in questions if question.gold]
    notes = [
        f"evidence ids: {repaired} repaired, {dropped} dropped",
        f"{len(questions) - len(evident)} questions without evidence left out",
    ]
    return Corpus(path.name, [turn for turns, _, _ in read for turn in turns], evident, notes)


def _conversation(sample: Mapping[str, Any]) -> tuple[list[Turn], list[Question], tuple[int, int]]:
    scope, conversation = sample["sample_id"], sample["conversation"]
    turns = [
        _locomo_turn(scope, name, position, turn, datetime.strptime(conversation[f"{name}_date_time"], LOCOMO_DATE))
        for name, said in conversation.items()
        if re.fullmatch(r"session_\d+", name)
        for position, turn in enumerate(said, start=1)
    ]
    known = {turn.id for turn in turns}
    questions, repaired, dropped = [], 0, 0
    for asked in sample["qa"]:
        gold: set[str] = set()
        for entry in asked.get("evidence", ()):
            found = [f"{scope}/{id}" for id in evidence_ids(entry)]
            there = [id for id in found if id in known]
            gold.update(there)
            dropped += len(found) - len(there) or not found
            repaired += bool(there) and there != [f"{scope}/{entry}"]
        category = LOCOMO_CATEGORIES.get(asked["category"], str(asked["category"]))
        questions.append(Question(scope, asked["question"], frozenset(gold), category))
    return turns, questions, (repaired, dropped)


LOCOMO_DATE = "%I:%M %p on %d %B, %Y"


def _locomo_turn(scope: str, thread: str, position: int, turn: Mapping[str, Any], date: datetime) -> Turn:
    caption = f" [image: {turn['blip_caption']}]" if turn.get("blip_caption") else ""
    text = f"{turn['speaker']}: {turn['text']}{caption}"
    return Turn(f"{scope}/{turn['dia_id']}", scope, thread, position, turn["speaker"], text, date.replace(tzinfo=UTC))


def evidence_ids(entry: str) -> Iterable[str]:
    """The turns that an entry names, such as both of "D8:6; D9:17", and D11:26 for "D:11:26"."""
    return [f"D{int(session)}:{int(turn)}" for session, turn in re.findall(r"D:?(\d+):(\d+)", entry)]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror}): give the path of a corpus") from None
