"""Questions: their words, the names in them, and what is known of common words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lakemem.questions import MAX_OWNERS, MAX_WORDS, MAX_WORDS_OF_OWNER, CommonWords, names_in, words_of


def test_words_stand_without_their_signs_and_possessives() -> None:
    question = "What's Ada's half-brother's name, O'Neil? (the 2nd one) naïve_x 🦆"
    assert words_of(question) == [
        "What", "Ada", "half-brother", "name", "O'Neil", "the", "2nd", "one", "naïve", "x",
    ]  # fmt: skip
    assert words_of("Ada\u2019s") == ["Ada"]
    assert words_of("… ?!") == []


def test_a_page_of_words_is_cut() -> None:
    assert len(words_of("word " * 10_000)) == MAX_WORDS


def test_names_are_words_and_runs_of_them_in_small_letters() -> None:
    assert names_in(["Mary", "Ann", "Lee", "ran"]) == [
        "mary", "ann", "lee", "ran", "mary ann", "ann lee", "lee ran", "mary ann lee", "ann lee ran",
    ]  # fmt: skip
    assert names_in([]) == []


def test_of_words_that_no_search_has_seen_a_capital_marks_a_name() -> None:
    common = CommonWords()
    assert common.without("ada", words_of("What did Zoe and I eat?")) == "What did and I eat"
    assert common.without("ada", words_of("Zoe ate")) is None, "the first word has a capital anyhow"
    assert common.without("ada", words_of("what did she eat")) is None
    assert common.without("ada", []) is None


def test_what_a_search_has_found_counts_for_that_owner_alone() -> None:
    common = CommonWords()
    common.learn("ada", ["what", "did", "zoe", "Rex", "eat"], ["zoe"])
    assert common.without("ada", ["Zoe", "fed", "Rex"]) == "fed Rex"
    assert common.without("bob", ["now", "zoe", "fed", "Rex"]) == "now zoe fed"
    common.learn("ada", ["zoe"], [])
    assert common.without("ada", ["Zoe", "fed", "Rex"]) is None, "the last search is right"


def test_a_question_of_nothing_but_common_words_stays_whole() -> None:
    common = CommonWords()
    common.learn("ada", ["zoe"], ["zoe"])
    assert common.without("ada", ["Zoe"]) is None


def test_what_is_kept_is_bounded() -> None:
    common = CommonWords()
    for n in range(MAX_OWNERS + 1):
        common.learn(f"user {n}", ["zoe"], ["zoe"])
    assert common.without("user 0", ["zoe", "fed"]) is None
    assert common.without("user 1", ["zoe", "fed"]) == "fed"
    common.learn("user 1", [f"word{n}" for n in range(MAX_WORDS_OF_OWNER)], [])
    assert common.without("user 1", ["zoe", "fed"]) is None


@given(st.text(max_size=300))
def test_any_text_has_words_that_stand_in_it(text: str) -> None:
    words = words_of(text)
    assert all(word and word in text for word in words)
    assert all(name == name.lower() for name in names_in(words))
    kept = CommonWords().without("ada", words)
    assert kept is None or 0 < len(kept.split()) < len(" ".join(words).split())
