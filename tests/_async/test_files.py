"""Files in memory: the commands of the memory tool, and that files are memories like all others."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from lakemem import (
    AsyncFileMemory,
    AsyncMemory,
    AsyncScopedMemory,
    ConflictError,
    InvalidInputError,
    Lakebase,
    MemoryNotFoundError,
    StorageUnavailableError,
    degrading,
)
from lakemem.file_memory.commands import MAX_SHOWN
from lakemem.testing import DatabaseFactory
from lakemem.testing.concurrency import agather
from tests.support.embedders import TopicEmbedder
from tests.support.rows import Rows

FILES = ("files",)


@pytest.fixture(scope="module")
def target(databases: DatabaseFactory) -> Iterator[Lakebase]:
    """One database for all tests here: each works on users of its own."""
    created = databases.create()
    yield created
    databases.drop(created)


@pytest.fixture
async def alice(memory: AsyncMemory) -> AsyncScopedMemory:
    return memory.for_user(f"alice {uuid.uuid4()}")


@pytest.fixture
async def files(alice: AsyncScopedMemory) -> AsyncFileMemory:
    return AsyncFileMemory(alice)


@pytest.fixture
async def rows(target: Lakebase, alice: AsyncScopedMemory) -> Rows:
    return Rows(target, alice.owner)


async def call(files: AsyncFileMemory, command: str, **given: Any) -> str:
    return await files.call({"command": command, **given})


async def test_a_day_of_an_agent(files: AsyncFileMemory) -> None:
    """Word for word what the models know as answers."""
    assert await call(files, "view", path="/memories") == (
        "Here're the files and directories up to 2 levels deep in /memories, "
        "excluding hidden items and node_modules:\n0B\t/memories"
    )
    text = "Meeting notes:\n- Discussed project timeline\n- Next steps defined\n"
    assert await call(files, "create", path="/memories/notes.txt", file_text=text) == (
        "File created successfully at: /memories/notes.txt"
    )
    assert await call(files, "view", path="/memories/notes.txt") == (
        "Here's the content of /memories/notes.txt with line numbers:\n"
        "     1\tMeeting notes:\n     2\t- Discussed project timeline\n     3\t- Next steps defined\n     4\t"
    )
    assert await call(files, "insert", path="/memories/notes.txt", insert_line=1, insert_text="- Tea\n") == (
        "The file /memories/notes.txt has been edited."
    )
    assert await call(
        files, "str_replace", path="/memories/notes.txt", old_str="project timeline", new_str="budget"
    ) == (
        "The memory file has been edited. Here is the snippet showing the change (with line numbers):\n"
        "     1\tMeeting notes:\n     2\t- Tea\n     3\t- Discussed budget\n     4\t- Next steps defined\n     5\t"
    )
    assert await call(files, "view", path="/memories/notes.txt", view_range=[2, 3]) == (
        "Here's the content of /memories/notes.txt with line numbers:\n     2\t- Tea\n     3\t- Discussed budget"
    )
    assert await call(files, "rename", old_path="/memories/notes.txt", new_path="/memories/old/notes.txt") == (
        "Successfully renamed /memories/notes.txt to /memories/old/notes.txt"
    )
    assert await call(files, "delete", path="/memories/old") == "Successfully deleted /memories/old"
    assert (await call(files, "view", path="/memories")).endswith("\n0B\t/memories")


async def test_what_is_refused_is_said_as_the_models_know_it(files: AsyncFileMemory) -> None:
    await files.create("/memories/a.txt", "one\ntwo\none one\n")
    await files.create("/memories/b/c.txt", "x")
    path = "/memories/a.txt"
    missing = "/memories/missing"
    for command, given, answer in [
        ("view", {"path": missing}, f"The path {missing} does not exist. Please provide a valid path."),
        ("create", {"path": path, "file_text": ""}, f"Error: File {path} already exists"),
        ("create", {"path": "/memories/b", "file_text": ""}, "Error: File /memories/b already exists"),
        ("create", {"path": f"{path}/c", "file_text": ""}, f"Error: {path} is a file, not a directory"),
        (
            "str_replace",
            {"path": missing, "old_str": "a", "new_str": "b"},
            f"Error: The path {missing} does not exist. Please provide a valid path.",
        ),
        (
            "str_replace",
            {"path": "/memories/b", "old_str": "a", "new_str": "b"},
            "Error: The path /memories/b does not exist. Please provide a valid path.",
        ),
        (
            "str_replace",
            {"path": path, "old_str": "three", "new_str": "b"},
            f"No replacement was performed, old_str `three` did not appear verbatim in {path}.",
        ),
        (
            "str_replace",
            {"path": path, "old_str": "one", "new_str": "b"},
            "No replacement was performed. Multiple occurrences of old_str `one` in lines: 1, 3, 3. "
            "Please ensure it is unique",
        ),
        ("insert", {"path": missing, "insert_line": 0, "insert_text": ""}, f"Error: The path {missing} does not exist"),
        (
            "insert",
            {"path": path, "insert_line": 4, "insert_text": "x"},
            "Error: Invalid `insert_line` parameter: 4. It should be within the range of lines of the file: [0, 3]",
        ),
        (
            "view",
            {"path": path, "view_range": [9, 10]},
            "Error: Invalid `view_range` parameter: [9, 10]. "
            "It should be within the range of lines of the file: [1, 4]",
        ),
        ("delete", {"path": missing}, f"Error: The path {missing} does not exist"),
        ("delete", {"path": "/memories"}, "Error: the directory /memories itself cannot be deleted"),
        ("rename", {"old_path": missing, "new_path": "/memories/x"}, f"Error: The path {missing} does not exist"),
        (
            "rename",
            {"old_path": path, "new_path": "/memories/b/c.txt"},
            "Error: The destination /memories/b/c.txt already exists",
        ),
        ("rename", {"old_path": path, "new_path": "/memories/b"}, "Error: The destination /memories/b already exists"),
        ("rename", {"old_path": path, "new_path": path}, f"Error: The destination {path} already exists"),
        (
            "rename",
            {"old_path": "/memories/b", "new_path": "/memories/b/d"},
            "Error: /memories/b cannot be moved into itself",
        ),
        ("rename", {"old_path": path, "new_path": "/memories"}, "Error: The destination /memories already exists"),
        ("create", {"path": "/memories/../etc/passwd", "file_text": ""}, None),
        ("view", {"path": "/memories/%2e%2e"}, None),
        ("view", {}, "Error: view needs path"),
        ("rename", {"old_path": path}, "Error: rename needs new_path"),
        ("create", {"path": path, "file_text": 7}, "Error: file_text must be a string, not int"),
        (
            "insert",
            {"path": path, "insert_line": True, "insert_text": "x"},
            "Error: insert_line must be a whole number, not bool",
        ),
        ("view", {"path": path, "view_range": [1]}, None),
        ("str_replace", {"path": path, "old_str": "", "new_str": "x"}, "Error: old_str must not be empty"),
        ("chmod", {"path": path}, "Error: command must be one of: view, create, str_replace, insert, delete, rename"),
    ]:  # fmt: skip
        answered = await files.answer({"command": command, **given})
        assert answered.is_error, (command, given)
        assert answer is None or answered.text == answer
    for given in ("view", None, 7, ["view"], {}, {"command": ["view"]}):
        assert (await files.answer(given)).is_error
    assert not (await files.answer({"command": "view", "path": path, "view_range": None, "more": 1})).is_error
    assert await files.view(path) == (
        f"Here's the content of {path} with line numbers:\n     1\tone\n     2\ttwo\n     3\tone one\n     4\t"
    )


async def test_a_program_gets_errors_that_quote_no_text(alice: AsyncScopedMemory, files: AsyncFileMemory) -> None:
    await files.create("/memories/a.txt", "secret secret")
    with pytest.raises(ConflictError, match="already exists"):
        await files.create("/memories/a.txt", "")
    with pytest.raises(MemoryNotFoundError):
        await files.view("/memories/b.txt")
    with pytest.raises(MemoryNotFoundError):
        await files.delete("/memories/b.txt")
    for wanted in ("secret", "hidden"):
        with pytest.raises(InvalidInputError) as refused:
            await files.str_replace("/memories/a.txt", wanted)
        assert wanted not in str(refused.value)
    with pytest.raises(InvalidInputError, match="the file takes"):
        await files.create("/memories/big.txt", "x" * 1_100_000)
    with pytest.raises(InvalidInputError, match="namespace"):
        AsyncFileMemory(alice, namespace=("a.b",))


async def test_a_listing_goes_two_levels_deep_and_leaves_out_what_is_hidden(files: AsyncFileMemory) -> None:
    for path, text in [
        ("readme.md", "x" * 1536),
        ("empty", ""),
        ("a/one.md", '\u00fc\n\t"quoted"'),
        ("a/b/two.md", "12345"),
        ("a/b/c/three.md", "12345"),
        (".git/config", "hidden"),
        ("a/.hidden", "hidden"),
        ("node_modules/left.js", "1"),
        ("a-b.md", "1"),
    ]:
        await files.create(f"/memories/{path}", text)
    head = "Here're the files and directories up to 2 levels deep in {}, excluding hidden items and node_modules:"
    assert (await files.view("/memories/")).splitlines() == [
        head.format("/memories"),
        "1.5K\t/memories",
        "28B\t/memories/a/",
        "10B\t/memories/a/b/",
        "12B\t/memories/a/one.md",
        "1B\t/memories/a-b.md",
        "0B\t/memories/empty",
        "1.5K\t/memories/readme.md",
    ]
    assert (await files.view("/memories/a/b")).splitlines() == [
        head.format("/memories/a/b"), "10B\t/memories/a/b", "5B\t/memories/a/b/c/", "5B\t/memories/a/b/c/three.md",
        "5B\t/memories/a/b/two.md",
    ]  # fmt: skip
    assert (await files.view("/memories/.git")).splitlines()[1:] == ["6B\t/memories/.git", "6B\t/memories/.git/config"]


@pytest.mark.parametrize(
    "text", ["", "\n", "a\x00b\n", "\ud83e lone", "\r\nwin\r\n", "\u2028", "x" * 900_000, '"\\u0000']
)
async def test_any_text_comes_back_as_it_was(files: AsyncFileMemory, alice: AsyncScopedMemory, text: str) -> None:
    await files.create("/memories/f", text)
    record = await alice.get("f", namespace=FILES)
    assert record is not None
    assert record.value == text
    shown = await files.call({"command": "view", "path": "/memories/f"})
    is_cut = len(text) > MAX_SHOWN
    assert shown.partition("\n")[2].count("\n") == text.count("\n") + is_cut
    assert len(shown) < MAX_SHOWN + 200
    shown.encode()
    await files.insert("/memories/f", 0, "top")
    record = await alice.get("f", namespace=FILES)
    assert record is not None
    assert record.value.startswith("top\n" + text)


async def test_a_file_is_a_memory(alice: AsyncScopedMemory, files: AsyncFileMemory, rows: Rows) -> None:
    await files.create("/memories/trips/oslo.md", "Wants the window seat.")
    await files.str_replace("/memories/trips/oslo.md", "window", "aisle")
    [hit] = await alice.search("which seat to Oslo?")
    assert (hit.record.namespace, hit.key, hit.value) == (FILES, "trips/oslo.md", "Wants the aisle seat.")
    assert set(hit.matched_terms) == {"seat", "oslo"}
    await files.rename("/memories/trips", "/memories/travel")
    assert await alice.get("trips/oslo.md", namespace=FILES) is None
    moved = await alice.get("travel/oslo.md", namespace=FILES)
    assert moved is not None
    assert moved.value == "Wants the aisle seat."
    await files.delete("/memories/travel/oslo.md")
    await files.create("/memories/travel/oslo.md", "Anew.")
    versions = rows(
        "SELECT key, version, value #>> '{}', valid_to IS NULL, superseded_by, sources FROM lakemem.memories"
        " ORDER BY key DESC, version"
    )
    assert versions == [
        ("trips/oslo.md", 1, "Wants the window seat.", False, 2, []),
        ("trips/oslo.md", 2, "Wants the aisle seat.", False, None, []),
        ("travel/oslo.md", 1, "Wants the aisle seat.", False, None, ["trips/oslo.md"]),
        ("travel/oslo.md", 2, "Anew.", True, None, []),
    ]
    events = rows("SELECT key, version, action FROM lakemem.memory_events ORDER BY at, event_id")
    assert sorted(events) == sorted([
        ("trips/oslo.md", 1, "save"), ("trips/oslo.md", 2, "update"), ("trips/oslo.md", 2, "delete"),
        ("travel/oslo.md", 1, "save"), ("travel/oslo.md", 1, "delete"), ("travel/oslo.md", 2, "save"),
    ])  # fmt: skip
    assert rows("SELECT count(*) FROM lakemem.memories WHERE valid_from >= valid_to") == [(0,)]
    for key in ("trips/oslo.md", "travel/oslo.md"):
        assert await alice.delete(key, namespace=FILES, erase=True)
    assert rows("SELECT key FROM lakemem.memories") == []


async def test_what_else_is_known_of_a_file_stays_with_it(
    alice: AsyncScopedMemory, files: AsyncFileMemory, rows: Rows
) -> None:
    saved = await alice.save(
        "a.md",
        "one",
        namespace=FILES,
        metadata={"tag": "x"},
        importance=0.9,
        thread_id="t",
        position=3,
        expires_in=3600,
    )
    [(created_at,)] = rows("SELECT created_at FROM lakemem.memories")
    await files.str_replace("/memories/a.md", "one", "two")
    await files.rename("/memories/a.md", "/memories/b.md")
    record = await alice.get("b.md", namespace=FILES)
    assert record is not None
    assert (record.value, record.metadata, record.expires_at) == ("two", {"tag": "x"}, saved.expires_at)
    assert rows(
        "SELECT importance::text, thread_id, position, created_at FROM lakemem.memories WHERE valid_to IS NULL"
    ) == [("0.9", "t", 3, created_at)]


async def test_a_file_that_has_expired_makes_room(alice: AsyncScopedMemory, files: AsyncFileMemory, rows: Rows) -> None:
    await alice.save("a", "old", namespace=FILES, expires_in=60)
    await alice.save("b/c", "old", namespace=FILES, expires_in=60)
    rows("UPDATE lakemem.memories SET expires_at = now() - interval '1 second'")
    assert (await files.view("/memories")).endswith("\n0B\t/memories")
    await files.create("/memories/a", "new")
    await files.create("/memories/b", "new")
    assert [record.value for record in await alice.items()] == ["new", "new"]


async def test_memories_of_another_kind_in_the_same_place(alice: AsyncScopedMemory, files: AsyncFileMemory) -> None:
    await alice.save("facts", {"colour": "blue"}, namespace=FILES)
    await alice.save("../escape", "x", namespace=FILES)
    await alice.save("elsewhere", "x", namespace=(*FILES, "deeper"))
    assert (await files.view("/memories")).splitlines()[1:] == ["17B\t/memories", "17B\t/memories/facts"]
    assert '  "colour": "blue"' in await files.view("/memories/facts")
    await files.str_replace("/memories/facts", "blue", "red")
    record = await alice.get("facts", namespace=FILES)
    assert record is not None
    assert record.value == '{\n  "colour": "red"\n}'


async def test_each_user_and_each_tree_has_its_own_files(memory: AsyncMemory, alice: AsyncScopedMemory) -> None:
    mine, work = AsyncFileMemory(alice), AsyncFileMemory(alice, namespace=("work",))
    theirs = AsyncFileMemory(memory.for_user(f"bob {uuid.uuid4()}"))
    assert work.namespace == ("work", "files")
    for number, files in enumerate((mine, work, theirs)):
        await files.create("/memories/a", str(number))
    await mine.delete("/memories/a")
    await work.rename("/memories/a", "/memories/b")
    assert "1\t2" in await theirs.view("/memories/a")
    assert "1\t1" in await work.view("/memories/b")


async def test_files_are_embedded_with_their_paths(target: Lakebase) -> None:
    embedder = TopicEmbedder()
    async with AsyncMemory(target, embedder=embedder) as memory:
        user = memory.for_user(f"carol {uuid.uuid4()}")
        files = AsyncFileMemory(user)
        await files.create("/memories/pets.md", "a dog")
        await files.rename("/memories/pets.md", "/memories/food.md")
        assert embedder.texts == ["pets md: a dog", "food md: a dog"]
        [hit] = await user.search("puppy")
        assert hit.similarity is not None
        assert (hit.key, hit.record.embedded) == ("food.md", True)


async def test_many_writers_of_one_file_lose_nothing(files: AsyncFileMemory) -> None:
    await files.create("/memories/log", "")
    lines = [f"line {number}" for number in range(12)]
    await agather([lambda line=line: files.insert("/memories/log", 0, line) for line in lines])  # type: ignore[misc]
    shown = (await files.view("/memories/log")).splitlines()[1:]
    assert sorted(line.partition("\t")[2] for line in shown) == sorted([*lines, ""])


async def test_of_many_who_create_one_file_one_does(files: AsyncFileMemory) -> None:
    answers = await agather(
        [lambda n=n: files.call({"command": "create", "path": "/memories/f", "file_text": str(n)}) for n in range(8)]  # type: ignore[misc]
    )
    assert sorted(answers) == ["Error: File /memories/f already exists"] * 7 + [
        "File created successfully at: /memories/f"
    ]


async def test_no_file_comes_to_stand_where_a_directory_is(files: AsyncFileMemory, alice: AsyncScopedMemory) -> None:
    """Some make files, some make directories of the same names, and some move what is there."""
    for _ in range(5):
        commands: list[dict[str, Any]] = [
            {"command": "create", "path": "/memories/x", "file_text": "1"},
            {"command": "create", "path": "/memories/x/y", "file_text": "2"},
            {"command": "create", "path": "/memories/x/y/z", "file_text": "3"},
            {"command": "rename", "old_path": "/memories/x", "new_path": "/memories/w"},
            {"command": "rename", "old_path": "/memories/w", "new_path": "/memories/x/w"},
            {"command": "delete", "path": "/memories/x"},
        ]
        await agather([lambda command=command: files.call(command) for command in commands])  # type: ignore[misc]
        keys = {record.key for record in await alice.items(limit=None)}
        folders = {key[:place] for key in keys for place, character in enumerate(key) if character == "/"}
        assert not keys & folders


async def test_a_change_from_outside_is_seen_before_it_is_overwritten(
    alice: AsyncScopedMemory, files: AsyncFileMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await files.create("/memories/f", "a\n")
    read = files._storage.run
    changed = []

    async def run(operation: Any, **options: Any) -> Any:
        if operation.statement == "files.write" and not changed:
            changed.append(await alice.save("f", "a\nmeanwhile\n", namespace=FILES))
        return await read(operation, **options)

    monkeypatch.setattr(files._storage, "run", run)
    await files.insert("/memories/f", 1, "b")
    record = await alice.get("f", namespace=FILES)
    assert record is not None
    assert (record.value, record.version) == ("a\nb\nmeanwhile\n", 3)
    assert changed


async def test_a_file_that_never_rests_is_given_up(
    alice: AsyncScopedMemory, files: AsyncFileMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await files.create("/memories/f", "a\n")
    read = files._storage.run

    async def run(operation: Any, **options: Any) -> Any:
        if operation.statement == "files.write":
            await alice.save("f", f"{uuid.uuid4()}\n", namespace=FILES)
        return await read(operation, **options)

    monkeypatch.setattr(files._storage, "run", run)
    with pytest.raises(ConflictError, match="view them again"):
        await files.insert("/memories/f", 1, "b")
    assert "view them again" in await files.call(
        {"command": "insert", "path": "/memories/f", "insert_line": 0, "insert_text": "b"}
    )


async def test_a_directory_of_too_many_files_is_moved_by_its_parts(
    alice: AsyncScopedMemory, files: AsyncFileMemory, rows: Rows
) -> None:
    rows(
        "INSERT INTO lakemem.memories (owner, namespace, key, version, value, text, content_hash, valid_from)"
        " SELECT %s, '{files}', 'd/' || n, 1, '\"x\"', 'x', '', now() FROM generate_series(1, 501) AS n",
        alice.owner,
    )
    answer = await files.call({"command": "delete", "path": "/memories/d"})
    assert answer == "Error: /memories/d has more than 500 files: take the directories in it one by one"
    await files.delete("/memories/d/1")
    await files.rename("/memories/d", "/memories/e")
    assert len(await alice.items(limit=None)) == 500
    await files.delete("/memories/e")
    assert await alice.items() == []


async def test_an_outage_is_said_to_the_model_and_nothing_waits(target: Lakebase) -> None:
    unreachable = AsyncMemory(Lakebase.dsn("postgresql://ada:secret@127.0.0.1:1/agents"), timeout=0.2)
    async with degrading(unreachable) as memory:
        files = AsyncFileMemory(memory.for_user("ada"))
        answer = await files.answer({"command": "view", "path": "/memories"})
        assert answer.is_error
        assert answer.text == "Error: memory is not available at the moment; answer without it"
        with pytest.raises(StorageUnavailableError):
            await files.create("/memories/a", "x")
