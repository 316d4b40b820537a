"""A personal assistant over a week of conversations: what it remembers, what changes, and what it recalls.

pip install "lakemem[local]" matplotlib
python personal_assistant.py [timeline.png]

Each evening's conversation is remembered turn by turn, and an extractor finds the facts in it. Here a few rules stand
in for the model; `OpenAIExtractor` asks a real one. With a file name the timeline is plotted, too.
"""

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from lakemem import KnownMemory, Memory, MemoryRecord, Proposal, ScopedMemory, SourceTurn
from lakemem.integrations.embedders import LocalEmbedder

MONDAY = datetime(2026, 3, 2, 18, tzinfo=UTC)
WEEK = [
    ["I work at Nordlys Energy, in the grid team.", "My sister Ida is visiting on Saturday."],
    ["I live in Aarhus, close to the harbour.", "I had a rough day, the deploy failed twice."],
    ["My dentist is on Thursday at nine.", "I am allergic to hazelnuts."],
    ["Big news: I work at Fjordbank from today!", "The dentist moved it to Friday."],
    ["I like my new team, we have lunch at the canal.", "Ida likes jazz."],
    ["Ida and I went to the jazz club by the river.", "We ate at a small place, no hazelnuts in anything."],
    ["I live in Copenhagen now, the flat came through.", "Remind me what Ida likes, her birthday is near."],
]
SUBJECTS = {
    "user.employer": r"\bI work at ([A-Z]\w+(?: [A-Z]\w+)?)",
    "user.home": r"\bI live in ([A-Z]\w+)",
    "user.allergy": r"\bI am allergic to (\w+)",
    "ida.likes": r"\bIda likes (\w+)",
}


class Rules:
    """An extractor of four subjects, each of which holds one value at a time."""

    def extract(self, turns: Sequence[SourceTurn], known: Sequence[KnownMemory]) -> list[Proposal]:
        return [
            Proposal(text=match[0], subject=subject, sources=[turn.id], occurred_at=turn.occurred_at)
            for turn in turns
            for subject, pattern in SUBJECTS.items()
            if turn.is_new and (match := re.search(pattern, turn.text))
        ]


def main() -> None:
    with Memory(embedder=LocalEmbedder()) as memory:
        ada = memory.for_user("ada")
        live_through(ada)
        versions = [version for subject in SUBJECTS for version in ada.history(subject)]
        show_timeline(versions)
        show_recall(ada)
        if len(sys.argv) > 1:
            plot_timeline(versions, sys.argv[1])


def live_through(user: ScopedMemory) -> None:
    for day, said in enumerate(WEEK):
        evening = MONDAY + timedelta(days=day)
        turns = [{"role": "user", "speaker": "Ada", "content": text, "occurred_at": evening} for text in said]
        found = user.extract(turns, Rules(), thread_id=f"{evening:%A}")
        print(f"{evening:%A}: {len(turns)} turns, facts: {[fact.key for fact in found.facts]}")


def show_timeline(versions: Sequence[MemoryRecord]) -> None:
    print("\nWhat was true when:")
    for version in versions:
        until = f"{version.valid_to:%a}" if version.valid_to else "now"
        print(f"  {version.key:14} {version.valid_from:%a} to {until:4} {version.text}")


def show_recall(user: ScopedMemory) -> None:
    sunday = MONDAY + timedelta(days=6)
    print("\nWhat should I not cook?", user.search("What should I not cook for dinner?", limit=1)[0].text)
    print("Where does Ada work?", user.search("Where does Ada work?", kind="fact", limit=1)[0].text)
    tuesday = MONDAY + timedelta(days=1)
    print("And on Tuesday?", user.search("Where does Ada work?", kind="fact", as_of=tuesday, limit=1)[0].text)
    print("\nIn the instructions of the next run:")
    print(user.context("What could Ida enjoy on her birthday?", asked_at=sunday, limit=3, max_tokens=400).text)


def plot_timeline(versions: Sequence[MemoryRecord], path: str) -> None:
    from matplotlib import dates, pyplot

    figure, axes = pyplot.subplots(figsize=(8, 2.5))
    end = MONDAY + timedelta(days=7)
    for version in versions:
        row = list(SUBJECTS).index(version.key)
        start, until = dates.date2num(version.valid_from), dates.date2num(version.valid_to or end)
        axes.barh(row, until - start, left=start, height=0.6, edgecolor="white", color="#4c72b0")
        axes.text(start + 0.05, row, version.text, va="center", fontsize=8, color="white")
    axes.set_yticks(range(len(SUBJECTS)), list(SUBJECTS))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%a"))
    figure.tight_layout()
    figure.savefig(path)
    print(f"\nThe timeline is in {path}.")


if __name__ == "__main__":
    main()
