"""``lakemem reembed``: the embedder is named by its module, and each step says what comes next."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from lakemem import Lakebase, Memory
from lakemem.cli import main
from lakemem.commands.objects import embedder_of
from lakemem.errors import ConfigurationError
from tests.support.embedders import HashEmbedder

MODULE = """
from tests.support.embedders import HashEmbedder

class Renewed(HashEmbedder):
    def __init__(self):
        super().__init__("new")

embedder = Renewed()
made = lambda: Renewed()
refusing = HashEmbedder("new", refuses="")
no_embedder = 3
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models_of_the_app.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "models_of_the_app", raising=False)


@pytest.fixture
def filled(target: Lakebase) -> Lakebase:
    with Memory(target, embedder=HashEmbedder("old")) as memory:
        for number in range(3):
            memory.for_user(f"user {number}").save("key", f"value {number}")
    return target


def reembed(target: Lakebase, *options: str, embedder: str = "models_of_the_app:embedder") -> int:
    return main(["reembed", "--embedder", embedder, "--dsn", make_conninfo(**target.parameters), *options])


def test_each_step_says_what_comes_next(filled: Lakebase, capsys: pytest.CaptureFixture[str]) -> None:
    assert reembed(filled, "--dry-run") == 0
    assert capsys.readouterr().out == "new/8: 0 filled, 0 moved, 3 left\nvectors of other models: 3 of old/8\n"
    assert reembed(filled) == 0
    printed, told = capsys.readouterr()
    assert told == "vectors: 0 of 3\nvectors: 3 of 3\n"
    assert printed == (
        "new/8: 3 filled, 0 moved, 0 left\nvectors of other models: 3 of old/8\n"
        "start the app with this embedder, then run this again with --finish\n"
    )
    assert reembed(filled, "--finish") == 0
    assert capsys.readouterr().out == "new/8: 0 filled, 3 moved, 0 left\nvectors of other models: none\ndone\n"


@pytest.mark.parametrize("name", ["embedder", "Renewed", "made"])
def test_an_embedder_is_an_object_or_what_makes_it(name: str) -> None:
    assert embedder_of(f"models_of_the_app:{name}").model == "new"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("models_of_the_app", "not of the form module:object"),
        (":embedder", "not of the form module:object"),
        ("no_such_module:embedder", "there is no module no_such_module"),
        ("models_of_the_app:nothing", "has no nothing"),
        ("models_of_the_app:no_embedder", "is no embedder"),
    ],
)
def test_what_is_no_embedder_is_named(name: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        embedder_of(name)


def test_a_failing_embedder_is_a_line_on_stderr(filled: Lakebase, capsys: pytest.CaptureFixture[str]) -> None:
    assert reembed(filled, embedder="models_of_the_app:refusing") == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("lakemem: the embedder new failed with ValueError; 0 versions have got their vectors")


def test_on_a_terminal_there_is_a_bar(
    filled: Lakebase, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert reembed(filled) == 0
    assert "3/3" in capsys.readouterr().err
