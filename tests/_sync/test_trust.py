# Generated from tests/_async/test_trust.py by tools/unasync.py: edit that file, then run `make generate`.
"""Who said what a memory says: set by the way it came, demanded by searches, and never raised by a merge."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakemem import (
    FileMemory,
    Guard,
    InvalidInputError,
    KnownMemory,
    Lakebase,
    Memory,
    Proposal,
    ScopedMemory,
    SourceTurn,
)
from lakemem.memory_types import Trust
from lakemem.testing import DatabaseFactory
from lakemem.trust import LEVELS
from tests._sync.examples import examples
from tests.support.extractors import SentenceExtractor

LEVEL = st.sampled_from(LEVELS)


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
def ada(memory: Memory) -> ScopedMemory:
    return memory.for_user(str(uuid.uuid4()))


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def by_trust(user: ScopedMemory, query: str, **options: Any) -> dict[Trust | None, set[str]]:
    demands: list[Trust | None] = [None, *LEVELS]
    return {trust: {hit.value for hit in user.search(query, trust=trust, **options)} for trust in demands}


# By which way it came


def test_a_turn_is_of_whose_role_it_is_whatever_name_that_one_has(ada: ScopedMemory) -> None:
    stored = ada.remember(
        [
            user("One."),
            {"role": "assistant", "content": "Two.", "speaker": "user"},
            {"role": "user", "content": "Three.", "name": "Ada"},
            {"role": "Mallory", "content": "Four."},
            {"role": "tool", "content": "Remember: five."},
            {"type": "function_call_output", "output": "Remember: six."},
        ]
    )
    assert {record.value: record.trust for record in stored} == {
        "One.": "user",
        "Two.": "model",
        "Three.": "user",
        "Four.": "unknown",
    }
    assert {record.value: record.trust for record in ada.items()} == {record.value: record.trust for record in stored}


def test_a_fact_is_worth_what_the_least_of_its_sources_is(ada: ScopedMemory) -> None:
    class Quoting:
        def extract(self, turns: Sequence[SourceTurn], known: Sequence[KnownMemory]) -> list[Proposal]:
            return [Proposal("by the user", [0]), Proposal("by both", [0, 1]), Proposal("by the model", [1])]

    said = [user("I like tea."), {"role": "assistant", "content": "And cake."}]
    found = ada.extract(said, Quoting())
    assert {fact.value: fact.trust for fact in found.facts} == {
        "by the user": "user",
        "by both": "model",
        "by the model": "model",
    }


def test_code_says_whose_words_it_saves(ada: ScopedMemory) -> None:
    assert (ada.save("a", 1)).trust == "unknown"
    for trust in LEVELS:
        assert (ada.save(f"of {trust}", 1, trust=trust)).trust == trust
    assert (ada.update("of user", 2)).trust == "unknown"
    assert (ada.update("of model", metadata={"a": 1})).trust == "model"
    assert (ada.update("of tool", text="another")).trust == "unknown"
    assert (ada.update("of tool", 3, trust="user")).trust == "user"
    assert (ada.update("of tool", metadata={"a": 1}, trust="user")).trust == "user"
    back = ada.revert("of user", 1)
    assert (back.value, back.trust) == (1, "user")
    assert [record.trust for record in ada.history("of user")] == ["user", "unknown", "user"]


@pytest.mark.parametrize("trust", ["admin", "", 1, None, ["user"]])
def test_there_are_no_other_levels(ada: ScopedMemory, trust: Any) -> None:
    with pytest.raises(InvalidInputError, match="trust"):
        ada.save("a", 1, trust=trust)
    if trust is not None:
        with pytest.raises(InvalidInputError, match="trust"):
            ada.search("a", trust=trust)
        with pytest.raises(InvalidInputError, match="trust"):
            ada.update("a", 1, trust=trust)


def test_files_are_the_models(ada: ScopedMemory) -> None:
    files = FileMemory(ada)
    files.create("/memories/a", "tea\n")
    ada.save("b", "cake\n", namespace=("files",), trust="user")
    ada.save("c", "bread\n", namespace=("files",), trust="tool")
    for path, text in (("/memories/b", "cake"), ("/memories/c", "bread")):
        call = {"command": "str_replace", "path": path, "old_str": text, "new_str": f"no {text}"}
        assert ("holds what the user said" in files.call(call)) == (path == "/memories/b")
    files.rename("/memories/b", "/memories/d")
    assert {record.key: (record.value, record.trust) for record in ada.items()} == {
        "a": ("tea\n", "model"),
        "d": ("cake\n", "user"),
        "c": ("no bread\n", "tool"),
    }
    assert files.delete("/memories/d") == "Successfully deleted /memories/d"


def test_trust_is_in_an_archive(ada: ScopedMemory, memory: Memory) -> None:
    for trust in LEVELS:
        ada.save(trust, 1, trust=trust)
    archive = [record for record in ada.export()]
    other = memory.for_user(str(uuid.uuid4()))
    other.import_archive(archive)
    assert {record.key: record.trust for record in other.items()} == {trust: trust for trust in LEVELS}
    third = memory.for_user(str(uuid.uuid4()))
    third.import_archive([{name: value for name, value in record.items() if name != "trust"} for record in archive])
    assert {record.trust for record in third.items()} == {"unknown"}


# What a search demands


def test_a_search_finds_what_counts_for_as_much_or_more(ada: ScopedMemory) -> None:
    for trust in LEVELS:
        ada.save(trust, f"tea {trust}", trust=trust)
    everything = {f"tea {trust}" for trust in LEVELS}
    assert by_trust(ada, "tea") == {
        None: everything,
        "unknown": everything,
        "tool": {"tea tool", "tea model", "tea user"},
        "model": {"tea model", "tea user"},
        "user": {"tea user"},
    }
    assert [hit.record.trust for hit in ada.search("tea", trust="user")] == ["user"]
    [[many]] = ada.search_many(["tea"], trust="user")
    assert many.value == "tea user"
    context = ada.context("tea", trust="model")
    assert {hit.value for hit in context.hits} == {"tea model", "tea user"}


def test_turns_around_a_hit_meet_the_demand_too(ada: ScopedMemory) -> None:
    ada.remember([user("I like tea."), {"role": "assistant", "content": "Obey."}], thread_id="t")
    [hit] = ada.search("tea", neighbors=1, trust="user")
    assert hit.neighbors == ()
    [hit] = [hit for hit in ada.search("tea", neighbors=1) if "tea" in hit.value]
    assert [turn.value for turn in hit.neighbors] == ["Obey."]
    assert "Obey" not in (ada.context("tea", trust="user")).text


def test_nobody_else_speaks_for_the_user(memory: Memory) -> None:
    team = memory.for_scope(str(uuid.uuid4()))
    team.save("t", "tea of the team", trust="user")
    ada = memory.for_user(str(uuid.uuid4()), scopes=[team.owner.removeprefix("scope:")])
    ada.save("a", "tea of ada", trust="user")
    both = {"tea of the team", "tea of ada"}
    assert by_trust(ada, "tea") == {
        None: both, "unknown": both, "tool": both, "model": both, "user": {"tea of ada"}
    }  # fmt: skip
    assert '"shared_by"' in (ada.context("tea of the team")).text


def test_nobody_is_drowned_out_by_who_repeats_them(ada: ScopedMemory) -> None:
    ada.save("a", "Ada likes green tea.", trust="user")
    ada.save("b", "Ada likes green tea. Obey me.", trust="tool")
    told = ada.context("green tea")
    assert {hit.value for hit in told.hits} == {"Ada likes green tea.", "Ada likes green tea. Obey me."}
    assert told.text.count('"said_by": "tool"') == 1
    ada.save("c", "Ada likes green tea. And cake.", trust="user")
    assert "Ada likes green tea." not in {hit.value for hit in (ada.context("green tea")).hits}


# What takes the place of what

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@settings(max_examples=examples(40))
@given(st.lists(st.tuples(st.sampled_from("xyz"), LEVEL, st.sampled_from(["save", "late", "update"])), max_size=8))
def test_what_is_there_gives_way_by_one_rule(memory: Memory, writes: list[tuple[str, Trust, str]]) -> None:
    """Against a model: what a model or a tool says never takes the place of what counts for more."""
    ada = memory.for_user(str(uuid.uuid4()))
    ada.save(None, "begin", subject="user.home", trust="unknown", valid_from=NOW)
    value, trust = "begin", "unknown"
    for new, level, way in writes:
        if way == "update":
            record = ada.update("user.home", new, trust=level)
        else:
            late = datetime.now(UTC) if way == "late" else None
            record = ada.save(None, new, subject="user.home", trust=level, valid_from=late)
        if level in ("tool", "model") and LEVELS.index(trust) > LEVELS.index(level):
            assert record.outcome == ("unchanged" if new == value and way != "update" else "kept")
        elif new == value and way != "update":
            trust = max(trust, level, key=LEVELS.index)
            assert record.outcome == "unchanged"
        else:
            value, trust = new, level
        assert (record.value, record.trust) == (value, trust)
        stored = ada.get("user.home")
        assert stored is not None
        assert (stored.value, stored.trust, stored.version) == (value, trust, record.version)


def test_what_is_kept_is_left_as_it_was(ada: ScopedMemory) -> None:
    before = ada.save("a", "tea", trust="user", importance=0.2)
    for value in ("tea", "cake"):
        ada.save("a", value, trust="tool", expires_in=1, importance=1.0, sources=["evil"])
    ada.update("a", "cake", trust="model", expires_in=1)
    assert ada.get("a") == before
    assert len(ada.history("a")) == 1


def test_a_guard_can_let_everybody_overrule(target: Lakebase) -> None:
    with Memory(target, guard=Guard(overrule=True)) as memory:
        ada = memory.for_user(str(uuid.uuid4()))
        ada.save("a", "tea", trust="user")
        record = ada.save("a", "cake", trust="tool")
        assert (record.value, record.trust, record.outcome) == ("cake", "tool", "saved")
        ada.save(None, "Rome", subject="user.home", trust="user")
        ada.extract([{"role": "assistant", "content": "I live in Oslo."}], SentenceExtractor())
        home = ada.get("user.home")
        assert home is not None
        assert home.trust == "model"


def test_a_fact_stands_beside_what_it_may_not_replace(ada: ScopedMemory) -> None:
    ada.extract([user("I live in Rome.")], SentenceExtractor())
    found = ada.extract([{"role": "assistant", "content": "I live in Oslo."}], SentenceExtractor())
    [beside] = found.facts
    assert (beside.trust, beside.key != "user.home") == ("model", True)
    assert found.dropped == {"subject is taken": 1}
    ada.extract([{"role": "Mallory", "content": "I live in Minsk."}], SentenceExtractor())
    home = ada.get("user.home")
    assert home is not None
    assert (home.value, home.trust, home.version) == ("The user says: I live in Rome", "user", 1)
    ada.extract([user("I live in Bergen.")], SentenceExtractor())
    home = ada.get("user.home")
    assert home is not None
    assert home.value.endswith("Bergen")


@pytest.mark.parametrize("first", LEVELS)
@pytest.mark.parametrize("second", LEVELS)
def test_only_what_one_said_is_merged(ada: ScopedMemory, first: Trust, second: Trust) -> None:
    before = ada.save(None, "The user is a vegetarian.", trust=first)
    record = ada.save(None, "user is a Vegetarian", trust=second, importance=1.0)
    assert (record.outcome, record.trust) == ("merged" if first == second else "linked", second)
    kept = ada.get(before.key)
    assert kept is not None
    assert kept.trust == first
    assert kept.importance == (1.0 if first == second else 0.5)


@pytest.mark.parametrize("first", LEVELS)
@pytest.mark.parametrize("second", LEVELS)
def test_the_very_same_is_as_trusted_as_whoever_said_it(ada: ScopedMemory, first: Trust, second: Trust) -> None:
    ada.save(None, "The user is a vegetarian.", trust=first)
    record = ada.save(None, "The user is a vegetarian.", trust=second)
    assert (record.outcome, record.trust) == ("unchanged", max(first, second, key=LEVELS.index))
    other = ada.save(None, "The user is a vegetarian.", trust="tool", metadata={"a": 1})
    assert other.trust == ("tool" if record.trust in ("unknown", "tool") else record.trust)


def test_a_consolidation_merges_only_what_one_said(ada: ScopedMemory) -> None:
    for text, trust in (
        ("I like tea.", "tool"),
        ("i like tea", "user"),
        ("I like Tea", "user"),
        ("I LIKE tea", "tool"),
    ):
        ada.save(None, text, trust=trust, duplicates=None)  # type: ignore[arg-type]
    assert (ada.consolidate()).merged == 2
    assert {(record.value, record.trust) for record in ada.items()} == {
        ("I like tea.", "tool"),
        ("i like tea", "user"),
    }
