# Generated from tests/_async/test_files_model.py by tools/unasync.py: edit that file, then run `make generate`.
"""Any sequence of commands on files ends as it does in a dict."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakemem import FileMemory, Lakebase, Memory
from lakemem.testing import DatabaseFactory
from tests._sync.examples import examples

Step: TypeAlias = dict[str, Any]

# Few names and few letters, so that commands meet.
names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
texts = st.text(alphabet="xy\n", max_size=8)
steps = st.lists(
    st.one_of(
        st.fixed_dictionaries({"command": st.just("create"), "path": paths, "file_text": texts}),
        st.fixed_dictionaries({"command": st.just("create"), "path": paths, "file_text": texts}),
        st.fixed_dictionaries(
            {
                "command": st.just("str_replace"),
                "path": paths,
                "old_str": st.text(alphabet="xy\n", min_size=1, max_size=3),
                "new_str": texts,
            }
        ),
        st.fixed_dictionaries(
            {
                "command": st.just("insert"),
                "path": paths,
                "insert_line": st.integers(-1, 5),
                "insert_text": st.text(alphabet="xy", max_size=3),
            }
        ),
        st.fixed_dictionaries({"command": st.just("delete"), "path": paths}),
        st.fixed_dictionaries({"command": st.just("rename"), "old_path": paths, "new_path": paths}),
    ),
    min_size=5,
    max_size=25,
)


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all examples: each works on a user of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


class Model:
    """Files in a dict; each command says whether it was carried out."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def apply(self, step: Step) -> bool:
        before = dict(self.files)
        done = getattr(self, step["command"])(**{name: value for name, value in step.items() if name != "command"})
        assert done or self.files == before
        return bool(done)

    def create(self, path: str, file_text: str) -> bool:
        if not self.is_free(path):
            return False
        self.files[path] = file_text
        return True

    def str_replace(self, path: str, old_str: str, new_str: str) -> bool:
        text = self.files.get(path, "")
        if sum(text.startswith(old_str, place) for place in range(len(text))) != 1:
            return False
        self.files[path] = text.replace(old_str, new_str)
        return True

    def insert(self, path: str, insert_line: int, insert_text: str) -> bool:
        if path not in self.files:
            return False
        lines = self.files[path].removesuffix("\n").split("\n") if self.files[path] else []
        if not 0 <= insert_line <= len(lines):
            return False
        lines[insert_line:insert_line] = [insert_text]
        self.files[path] = "".join(f"{line}\n" for line in lines)
        return True

    def delete(self, path: str) -> bool:
        gone = self.under(path)
        for each in gone:
            del self.files[each]
        return bool(gone)

    def rename(self, old_path: str, new_path: str) -> bool:
        moved = self.under(old_path)
        if not moved or not self.is_free(new_path) or f"{new_path}/".startswith(f"{old_path}/"):
            return False
        for each in moved:
            self.files[new_path + each[len(old_path) :]] = self.files.pop(each)
        return True

    def under(self, path: str) -> list[str]:
        return [each for each in self.files if each == path or each.startswith(f"{path}/")]

    def is_free(self, path: str) -> bool:
        above = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)]
        return not self.under(path) and not any(folder in self.files for folder in above)


def placed(step: Step) -> Step:
    """The step with whole paths."""
    return {name: f"/memories/{value}" if "path" in name else value for name, value in step.items()}


@settings(max_examples=examples(60))
@given(steps=steps)
def test_files_are_as_in_a_dict(target: Lakebase, steps: list[Step]) -> None:
    model = Model()
    with Memory(target) as memory:
        user = memory.for_user(str(uuid.uuid4()))
        files = FileMemory(user)
        for step in steps:
            answer = files.answer(placed(step))
            assert model.apply(step) is not answer.is_error, (step, answer.text)
        assert {record.key: record.value for record in user.items(limit=None)} == model.files
        for path, text in model.files.items():
            shown = (files.view(f"/memories/{path}")).split("\n")[1:]
            assert [line.partition("\t")[2] for line in shown] == text.split("\n")
        listed = (files.view("/memories")).split("\n")[2:]
        expected = {
            f"/memories/{'/'.join(parts[:depth])}{'/' if depth < len(parts) else ''}"
            for parts in (path.split("/") for path in model.files)
            for depth in range(1, min(len(parts), 2) + 1)
        }
        assert {line.partition("\t")[2] for line in listed} == expected
