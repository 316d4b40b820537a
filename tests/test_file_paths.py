"""Which paths lead to a file in memory, and that no other does."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakemem import InvalidInputError
from lakemem.file_memory.display import readable_size
from lakemem.file_paths import Place, place_of


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/memories", ""),
        ("/memories/", ""),
        ("/memories/notes.txt", "notes.txt"),
        ("/memories/a/b/c.md", "a/b/c.md"),
        ("/memories/folder/", "folder"),
        ("/memories/.hidden", ".hidden"),
        ("/memories/v1.2/50% off & more (final).md", "v1.2/50% off & more (final).md"),
        ("/memories/caf\u00e9/\u65e5\u672c\u8a9e/\U0001f986.md", "caf\u00e9/\u65e5\u672c\u8a9e/\U0001f986.md"),
        ("/memories/memories/memories", "memories/memories"),
        ("/memories/..notes", "..notes"),
        ("/memories/~root", "~root"),
        ("/memories/C:", "C:"),
    ],
)
def test_a_path_under_memories_leads_to_a_key(path: str, key: str) -> None:
    assert place_of(path) == Place(key)


TRICKS = [
    "", "/", "memories", "memories/a", "/memory", "/memories2", "/memories2/a", "/memoriesa", "/Memories/a",
    "/etc/passwd", "/memories\\a", "//memories/a", " /memories/a", "./memories/a", "/./memories/a",
    "/m\u0435mories/a", "/memories/\u200b", "/memories\u200b/a", "/memories\n/a",
    "/memories/..", "/memories/../etc/passwd", "/memories/a/../b", "/memories/a/..", "/memories/./a", "/memories/.",
    "/memories/...", "/memories/a/..../b", "/memories/../memories/a", "/memories/../memories2",
    "/memories//a", "/memories/a//b", "/memories//", "/memories/a//",
    "/memories/%2e%2e/a", "/memories/%2E%2E%2Fa", "/memories/a%2fb", "/memories/%00", "/memories/%252e",
    "/memories/..\\a", "/memories/a\\b", "/memories/\\\\server",
    "/memories/a\x00b", "/memories/\x00", "/memories/a\nb", "/memories/a\tb", "/memories/a\x7f", "/memories/a\x85b",
    "/memories/\ud800", "/memories/\ue000", "/memories/a\u200db", "/memories/\u202egnp.exe", "/memories/a\u2028b",
    "/memories/a\u2044b", "/memories/a\u2215b", "/memories/\uff0e\uff0e/a", "/memories/a\uff0fb",
    "/memories/\u2024\u2024",
    "/memories/\u2025", "/memories/\ufe52\ufe52", "/memories/a\uff3cb", "/memories/a\u29f5b", "/memories/%\uff12e",
    "/memories/cafe\u0301", "/memories/\ufb01le", "/memories/a\u00a0b", "/memories/\u212b",
    "/memories/a ", "/memories/ a", "/memories/a /b", "/memories/ ", "/memories/\u3000",
    "/memories/" + "a" * 256, "/memories/" + "\u65e5" * 201, "/memories/" + "a/" * 100_000 + "b",
    None, 7, b"/memories/a", ["/memories/a"], {},
]  # fmt: skip


@pytest.mark.parametrize("path", TRICKS, ids=lambda path: ascii(path)[:40])
def test_what_could_be_taken_for_another_path_is_refused(path: object) -> None:
    with pytest.raises(InvalidInputError) as refused:
        place_of(path)
    assert len(str(refused.value)) < 600
    assert str(refused.value).isascii()
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("path", ["/memories", "/memories/", "/memories/a/"])
def test_a_directory_is_no_file(path: str) -> None:
    with pytest.raises(InvalidInputError):
        place_of(path, of_file=True)


@given(st.text(alphabet=st.one_of(st.sampled_from("./\\%2e \x00\u2024\uff0fab"), st.characters()), max_size=40))
@example("a/../b")
def test_whatever_is_accepted_stays_under_memories_and_has_one_way_to_be_written(rest: str) -> None:
    try:
        place = place_of(f"/memories/{rest}")
    except InvalidInputError:
        return
    assert place_of(place.path) == place
    assert place.path == f"/memories/{rest}".removesuffix("/")
    assert all(name.strip(".") and name == name.strip() for name in place.key.split("/")) or place.is_root
    assert not {"\\", "\x00"} & set(place.key)


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (1536, "1.5K"), (1024 * 1024 - 1, "1024.0K"), (1024 * 1024, "1.0M")],
)
def test_sizes_are_readable(size: int, shown: str) -> None:
    assert readable_size(size) == shown
