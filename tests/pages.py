"""The code blocks of a Markdown page, and a program that runs them: ``python tests/pages.py PAGE``.

The ``python`` blocks of a page run in their order, in one namespace and on one event loop, as the cells of a
notebook do; ``await`` may stand at top level. An ``output`` block says what the block before it prints, ``...``
standing for anything. A block under ``<!-- not run: REASON -->`` is left out.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>\{?[\w-]*\}?)(?: .*)?$")
_NOT_RUN = re.compile(r"^<!-- not run: (?P<reason>.+) -->$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        line: where its code begins, from 1.
        not_run: why it is not run; None for one that is.
    """

    language: str
    line: int
    code: str
    not_run: str | None = None


def blocks(page: Path) -> list[Block]:
    return list(_blocks(page.read_text("utf-8").splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    number, not_run = 0, None
    while number < len(lines):
        line = lines[number]
        number += 1
        if mark := _NOT_RUN.match(line):
            not_run = mark["reason"]
        elif opening := _FENCE.match(line):
            start = number
            while lines[number].strip() != opening["fence"]:
                number += 1
            code = "\n".join(text.removeprefix(opening["indent"]) for text in lines[start:number]) + "\n"
            number += 1
            yield Block(opening["language"], start + 1, code, not_run)
            not_run = None
        elif line.strip():
            not_run = None


def run(page: Path) -> None:
    """Run a page, and raise AssertionError where it does not print what it says."""
    # Types that a page defines are looked up in the module that it claims to be.
    module = sys.modules["__main__"] = ModuleType("__main__")
    end = Block("", 0, "")
    with asyncio.Runner() as runner:
        for block, after in pairwise([*blocks(page), end]):
            if block.language == "python" and block.not_run is None:
                printed = _run_block(page, block, module.__dict__, runner)
                print(printed, end="")
                if after.language == "output":
                    _compare(page, after, printed)


def _run_block(page: Path, block: Block, namespace: dict[str, Any], runner: asyncio.Runner) -> str:
    # The empty lines in front make a traceback name the page's own line.
    source = "\n" * (block.line - 1) + block.code
    code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = eval(code, namespace)
        if inspect.iscoroutine(result):
            runner.run(result)
    return printed.getvalue()


def _compare(page: Path, expected: Block, printed: str) -> None:
    if not doctest.OutputChecker().check_output(
        expected.code, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    ):
        raise AssertionError(f"{page}:{expected.line} says\n{expected.code}\nbut this was printed:\n{printed}")


if __name__ == "__main__":
    run(Path(sys.argv[1]).resolve())
