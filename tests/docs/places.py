"""Where pages and examples are."""

from __future__ import annotations

from pathlib import Path

from tests.pages import blocks

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    EXAMPLES / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def with_blocks(language: str) -> list[Path]:
    return [page for page in PAGES if any(block.language == language for block in blocks(page))]


CONFIGURATION = DOCS / "reference" / "configuration.md"


def assert_documented(variable: str) -> None:
    assert f"`{variable}`" in CONFIGURATION.read_text(), variable
