"""A pytest plugin that looks through all that tests print, log or raise for what must never be told."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from lakemem import LakememError

SECRET = re.compile(
    r"password-for-tests-[0-9a-f]{8}"  # of each database, see lakemem.testing
    r"|emulated-\w+-[\w-]{20}"  # each token of the emulated workspace
    r"|mark-[0-9a-f]{12}"  # in each memory of the tests of isolation
)

_raised: list[str] = []


def secrets_in(text: str) -> list[str]:
    """The kinds of secrets that a text tells, without telling them again."""
    return sorted({found.rpartition("-")[0] for found in SECRET.findall(text)})


@pytest.fixture(scope="session", autouse=True)
def _errors_are_seen() -> Iterator[None]:
    """Every error of lakemem is looked at as it is made, whoever catches it."""

    def made(self: LakememError, *arguments: Any) -> None:
        super(LakememError, self).__init__(*arguments)
        _raised.extend(f"{type(self).__name__} with {kind}" for kind in secrets_in(f"{self} {self!r}"))

    LakememError.__init__ = made  # type: ignore[method-assign]
    yield
    del LakememError.__init__


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    told = [f"{title} with {kind}" for title, content in report.sections for kind in secrets_in(content)]
    if report.when == "teardown":
        told += _raised
        _raised.clear()
    if told and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} told a secret: {', '.join(sorted(set(told)))}"
    return report
