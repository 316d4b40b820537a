"""The examples run, and show what they promise."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.docs.conftest import Machine
from tests.docs.places import EXAMPLES, name_of

OF_AN_APP = [
    "agent: Nice to meet you.",
    "You began with: ",
    "From earlier conversations I know: ",
    "bob: How should you answer me?\n  agent: I know nothing about you yet.",
    "  401 ",
    "agent (degraded): ",
    "agent: From earlier conversations I know: The user works in the workspace analytics-eu.",
]

# What a reader sees of each example, in this order.
PRINTED = {
    "databricks_app_openai.py": OF_AN_APP,
    "databricks_app_langgraph.py": OF_AN_APP,
    "remember_user.py": ["answer_style:", "answer_style, version", "is 67890 now", "forgotten: None", "memories: []"],
    "encrypted_memory.py": [
        "with the key: Ada is allergic to penicillin.",
        "by meaning: ['diagnosis']",
        "without it: lakemem.sealed:",
        "after a rotation: I took penicillin once.",
        "dropped: {'data_keys': 1}",
        "then: something is encrypted with a key that is not there",
    ],
    "async_memory.py": ["ada 1: Hello, I am ada.", "eve 2: Hello, eve.", "by Grace.", "Ada does not: []"],
    "threads.py": [
        "page: ['Dinner']",
        "page: ['Travel']",
        "pinned: ['Travel']",
        "found in travel, position 1",
        "forked from travel at 1: At 9:15",
        "stays: Let me think",
        "exported: 3 threads, 6 items",
    ],
    "openai_agents_session.py": ["I have noted: name", "You began with: ", "items in the session"],
    "openai_agents_branching.py": [
        "The branch: I am Ada. | I like long answers.",
        "Taken back: I am Ada. | I like short answers.",
        "3 runs are counted, 2 turns are left",
        "New in what the client sent: I like tea.",
    ],
    "openai_agents_tools.py": ["I have noted: ", "workspace analytics-eu", "bob: ", "I know nothing about you yet."],
    "langgraph_agent.py": [
        "You began with: ",
        "From earlier conversations I know: ",
        "bob on monday",
        "I know nothing",
    ],
    "langgraph_store.py": [
        "ada: What is my dog's name?\n  My dog is called Turing.",
        "bob: What is my dog's name?\n  I know nothing",
        "namespaces: [('trips', 'oslo', '2026'), ('trips', 'rome', '2026'), ('trips', 'tokyo', '2026')]",
        "places: [('trips', 'oslo'), ('trips', 'rome')]",
        "good: ['rome', 'tokyo']",
        "expired: None",
        "erased: 1",
    ],
    "langgraph_interrupt.py": ["waits: Refund 20 EUR?", "waits at: ('approve',)", "Outcome: refunded"],
    "langgraph_time_travel.py": [
        "To review: Dear Bob, no.",
        "The verdict: too short",
        "[(), ('review',), ('write',), ('__start__',)]",
        "To review now: Dear Bob, I am afraid not.",
        "The verdict now: good",
        "stored: 7 checkpoints",
    ],
    "personal_assistant.py": [
        "Monday: 2 turns, facts: ['user.employer']",
        "Thu to now  user employer: I work at Fjordbank",
        "Mon to Thu  user employer: I work at Nordlys Energy",
        "no hazelnuts",
        "Where does Ada work? user employer: I work at Fjordbank",
        "And on Tuesday? user employer: I work at Nordlys Energy",
        "Ida likes jazz.",
    ],
    "degrading_agent.py": ["I remember nothing", "is degraded: ", "1 write waits", "I remember: ['My deploys run"],
    "fastapi_app.py": ["ada, this is message 1", "ada, this is message 2", "bob, this is message 1", "401 {'error'"],
    "custom_embedder.py": ["Reykjavik: Reykjavik, similarity 0", "Rejkyavik: Reykjavik, similarity 0", "words ()"],
    "mlflow_evaluate.py": ["says_it: 100%", "ada [", "lakemem.memories.save", "bob [", "lakemem.recall.search"],
    "testing_your_agent.py": ["3 passed"],
    "long_research/demo.py": [
        "I have read the annual report 2025.\n(the first server is killed)",
        "(another process goes on)",
        "On your question: How is Nordlys doing?",
        "job offers: forty engineers are wanted\nevents: 0 to ",
        "status: completed",
    ],
}


@pytest.mark.long
@pytest.mark.parametrize(
    "example", [*sorted(EXAMPLES.glob("*.py")), EXAMPLES / "long_research" / "demo.py"], ids=name_of
)
def test_an_example_shows_what_it_promises(machine: Machine, example: Path) -> None:
    runner = ["-m", "pytest", "-p", "no:cacheprovider"] if example.name.startswith("testing_") else []
    printed = rest = machine.run(sys.executable, *runner, str(example))
    for phrase in PRINTED[str(example.relative_to(EXAMPLES))]:
        assert phrase in rest, printed
        rest = rest.partition(phrase)[2]


def test_the_table_of_examples_names_each_of_them() -> None:
    named = re.findall(r"^\| \[`?([\w.]+)`?\]", (EXAMPLES / "README.md").read_text(), flags=re.MULTILINE)
    assert sorted(named) == sorted(example.name for example in EXAMPLES.glob("*.py"))
