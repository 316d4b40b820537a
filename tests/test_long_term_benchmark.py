"""The benchmark of long-term memory: what it reads, how it counts, and that it runs."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recall import rankings
from recall.asking import Asked
from recall.corpora import CorpusError, chosen, evidence_ids, read_jsonl, read_locomo
from recall.embeddings import CachedEmbedder
from recall.rankings import Documents, min_max, order, recall_at, rrf
from recall.synthetic import Mixture
from side_by_side.bench import Result
from side_by_side.goals import above

from tests.conftest import connect

ROOT = Path(__file__).parents[1]
BENCHMARK = ROOT / "benchmarks" / "long_term.py"
CASES = {
    "recall-at-5", "recall-at-10", "recall-at-20", "recall-at-10-vs-rrf60", "tenants-100x600", "tenants-50x1200",
    "tenants-2000x100", "search-p50-ms", "search-p99-ms", "search-20k-p50-ms", "search-20k-dense-p50-ms", "save-16",
    "paraphrases-stored", "growth",
}  # fmt: skip

# What it reads.

TURN = {
    "kind": "turn", "scope": "ada", "thread": "monday", "position": 1, "speaker": "Ada", "text": "I keep bees.",
    "date": "2024-05-06", "id": "t1",
}  # fmt: skip
QUESTION = {"kind": "question", "scope": "ada", "text": "Which animals does Ada keep?", "gold": ["t1"]}

CONVERSATION: dict[str, Any] = {
    "sample_id": "conversation-1",
    "conversation": {
        "speaker_a": "Ada",
        "speaker_b": "Bo",
        "session_1_date_time": "9:05 am on 6 May, 2024",
        "session_1": [
            {"speaker": "Ada", "dia_id": "D1:1", "text": "I keep bees."},
            {"speaker": "Bo", "dia_id": "D1:2", "text": "Look!", "blip_caption": "a photo of a hive"},
        ],
        "session_2_date_time": "10:30 pm on 7 June, 2024",
    },
    "qa": [
        {"question": "What does Ada keep?", "evidence": ["D1:1"], "category": 4},
        {"question": "What did they show?", "evidence": ["D1:1; D1:02", "D:1:2", "D9:9", "D"], "category": 1},
        {"question": "What is Ada's horse called?", "evidence": ["D1:1"], "category": 5},
        {"question": "Why?", "evidence": [], "category": 3},
    ],
}


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_corpus_of_lines_has_turns_and_questions(tmp_path: Path) -> None:
    corpus = read_jsonl(lines(tmp_path / "corpus.jsonl", TURN, QUESTION, {**QUESTION, "gold": []}))
    [turn], [question] = corpus.turns, corpus.questions
    assert (turn.text, turn.thread, turn.position, str(turn.date)) == (
        "Ada: I keep bees.", "monday", 1, "2024-05-06 00:00:00+00:00",
    )  # fmt: skip
    assert (question.gold, question.category, question.date) == (frozenset(["t1"]), "all", None)


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        ([{**TURN, "kind": "remark"}], "line 1: .*neither"),
        ([TURN, TURN], "line 2: .*there before"),
        ([{"kind": "turn"}], "line 1: KeyError: 'id'"),
        ([{**TURN, "date": "yesterday"}], "line 1: ValueError"),
        ([TURN, {**QUESTION, "gold": ["t2"]}], "needs t2"),
        ([TURN, {**QUESTION, "scope": "bo"}], "no turn of that scope"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, records: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(CorpusError, match=complaint):
        read_jsonl(lines(tmp_path / "corpus.jsonl", *records))


def test_a_conversation_of_locomo_is_a_scope_and_its_evidence_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps([CONVERSATION]))
    corpus = read_locomo(path)
    assert [(turn.id, turn.text) for turn in corpus.turns] == [
        ("conversation-1/D1:1", "Ada: I keep bees."),
        ("conversation-1/D1:2", "Bo: Look! [image: a photo of a hive]"),
    ]
    assert {(turn.scope, turn.thread, str(turn.date)) for turn in corpus.turns} == {
        ("conversation-1", "session_1", "2024-05-06 09:05:00+00:00")
    }
    assert [turn.position for turn in corpus.turns] == [1, 2]
    first, second, third = corpus.questions
    assert first.gold == third.gold == {"conversation-1/D1:1"}
    assert second.gold == {"conversation-1/D1:1", "conversation-1/D1:2"}
    assert [question.category for question in corpus.questions] == ["single-hop", "multi-hop", "adversarial"]
    assert list(corpus.notes) == ["evidence ids: 2 repaired, 2 dropped", "1 questions without evidence left out"]


@pytest.mark.parametrize(
    ("entry", "ids"),
    [
        ("D8:6; D9:17", ["D8:6", "D9:17"]),
        ("D:11:26", ["D11:26"]),
        ("D30:05", ["D30:5"]),
        ("D1:2 D1:3", ["D1:2", "D1:3"]),
        ("D", []),
    ],
)
def test_slips_in_evidence_are_understood(entry: str, ids: list[str]) -> None:
    assert evidence_ids(entry) == ids


def test_a_run_says_which_corpus_it_has(tmp_path: Path) -> None:
    corpus, which = chosen({})
    assert len(corpus.turns) > 400
    assert "neither LOCOMO=path nor CORPUS=path is set" in which
    named, which = chosen({"CORPUS": str(lines(tmp_path / "mine.jsonl", TURN, QUESTION))})
    assert len(named.turns) == 1
    assert which == "corpus: mine.jsonl, 1 turns in 1 scopes, 1 questions"
    for environment in ({"LOCOMO": "a", "CORPUS": "b"}, {"LOCOMO": str(tmp_path / "no")}, {"LOCOMO": str(tmp_path)}):
        with pytest.raises(CorpusError):
            chosen(environment)


# How it counts.

WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12)


@given(texts=st.lists(WORDS, min_size=2, max_size=8), question=WORDS)
def test_bm25_is_what_its_formula_says(texts: list[list[str]], question: list[str]) -> None:
    documents = Documents(numpy.zeros((len(texts), 1), dtype=numpy.float32), [Counter(text) for text in texts])
    average = sum(map(len, texts)) / len(texts)
    expected = []
    for text in texts:
        score = 0.0
        for word in set(question):
            having = sum(word in other for other in texts)
            rarity = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            count = text.count(word)
            score += rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(text) / average))
        expected.append(score)
    assert documents.bm25(question) == pytest.approx(expected)


def test_reciprocal_rank_fusion_adds_the_ranks_of_both_lists() -> None:
    dense, lexical = numpy.array([0.9, 0.8, 0.7]), numpy.array([0.0, 1.0, 2.0])
    assert rrf(dense, lexical) == pytest.approx([1 / 61, 1 / 62 + 1 / 62, 1 / 63 + 1 / 61])


def test_the_lists_that_are_fused_end() -> None:
    assert rrf(numpy.array([0.9, 0.8]), numpy.array([0.0, 0.0]), depth=1) == pytest.approx([1 / 61, 0])


def test_min_max_scales_each_list_to_the_same_range() -> None:
    assert min_max(numpy.array([0.9, 0.8, 0.7]), numpy.array([0.0, 5.0, 10.0])) == pytest.approx([1, 1, 1])
    assert min_max(numpy.array([0.9, 0.7]), numpy.array([0.0, 0.0])) == pytest.approx([1, 0])


def test_what_scores_the_same_stays_in_order() -> None:
    assert order(numpy.array([1.0, 2.0, 1.0, 2.0])) == [1, 3, 0, 2]


def test_recall_is_the_share_of_the_gold_turns_among_the_first() -> None:
    gold = frozenset("ab")
    assert [recall_at(k, ["x", "a", "y", "b"], gold) for k in (1, 2, 3, 4)] == [0, 0.5, 0.5, 1]


def test_words_are_those_of_postgres(target: Any) -> None:
    with connect(target) as connection:
        assert rankings.lexemes(connection, ["The dogs' dog barked", "", "the"]) == [
            Counter({"dog": 2, "bark": 1}), Counter(), Counter(),
        ]  # fmt: skip


def test_a_question_is_right_by_what_is_as_near_as_the_tenth() -> None:
    similarities = numpy.array([0.9 - place / 100 for place in range(12)], dtype=numpy.float32)
    similarities[10] = similarities[9] - 1e-5  # as near as half precision can tell
    question = Asked("user", "question", similarities)
    nearest = [str(place) for place in range(12)]
    assert question.recall(nearest) == 1
    assert question.recall([*nearest[:9], "10"]) == 1
    assert question.recall([*nearest[:9], "11"]) == 0.9
    assert question.recall(["0"] * 10) == 0.1


def test_a_goal_by_difference_is_ours_less_the_other() -> None:
    goal, result = above("recall", 0.3), Result("case", "recall", 0.75, 0.5, None)
    assert goal.reached(result) == 0.25
    assert not goal.is_met(0.25)
    assert str(goal) == "at least 0.3 above the peer"


class Counting:
    """An embedder that counts what it is asked."""

    model = "counting"
    dimensions = 3

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked += texts
        return [[float(len(text)), 0.0, 1.0] for text in texts]


def test_a_text_is_embedded_once_on_a_machine(tmp_path: Path) -> None:
    for expected in (["a", "bb"], []):
        embedder = Counting()
        cached = CachedEmbedder(embedder, tmp_path / "cache" / "vectors.sqlite")
        cached.prepare(["a", "bb", "a"])
        assert cached.embed(["bb", "a"]) == [[2.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
        assert embedder.asked == expected


def test_mixed_memories_are_unit_vectors_and_the_same_each_time() -> None:
    corpus, _ = chosen({})

    def vectors(texts: list[str]) -> rankings.Vectors:
        return numpy.random.default_rng(1).standard_normal((len(texts), 8), dtype=numpy.float32)

    first, again, other = (Mixture(corpus, vectors, seed).scope("user", 50) for seed in (1, 1, 2))
    assert numpy.linalg.norm(first.vectors, axis=1) == pytest.approx(numpy.ones(50), abs=1e-5)
    assert first.turns == again.turns
    assert (first.vectors == again.vectors).all()
    assert first.turns != other.turns
    assert len({turn.id for turn in first.turns}) == 50
    of_scopes = [memories.source for memories in Mixture(corpus, vectors, 1).scopes("abcde", 1)]
    assert of_scopes == [*corpus.by_scope, next(iter(corpus.by_scope))]


# That it runs.


@pytest.mark.long
def test_it_runs_in_small_and_has_a_figure_for_each_case(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCOMO", "CORPUS")}
    environment["LAKEMEM_BENCHMARK_CACHE"] = str(tmp_path / "vectors.sqlite")
    results = tmp_path / "results"
    command = [sys.executable, str(BENCHMARK), "--quick", "--results", str(results)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "neither LOCOMO=path nor CORPUS=path is set" in done.stderr
    rows = json.loads((results / "long_term.json").read_text())
    assert {row["case"] for row in rows} == CASES
    assert all(set(row) == {"case", "metric", "ours", "peer", "floor"} for row in rows)
    assert all(row["ours"] is not None and row["ours"] >= 0 for row in rows)
    recalls = [row for row in rows if row["case"].startswith(("recall", "tenants")) and row["metric"] == "recall"]
    assert len(recalls) == 7
    assert all(0 < row["ours"] <= 1 and 0 < row["peer"] <= 1 for row in recalls)
    nearest = [
        row["ours"] for row in rows if row["metric"] == "recall" and row["case"].startswith(("tenants", "search"))
    ]
    assert nearest == [1, 1, 1, 1]
    assert {path.name for path in results.iterdir()} == {
        "long_term.json", "long_term.md", "long_term_recall.png", "long_term_growth.png",
    }  # fmt: skip
    assert done.stdout.strip() in (results / "long_term.md").read_text()


def test_a_corpus_that_is_not_there_is_said(tmp_path: Path) -> None:
    environment = {**os.environ, "LOCOMO": str(tmp_path / "missing.json")}
    done = subprocess.run([sys.executable, str(BENCHMARK)], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "missing.json cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
