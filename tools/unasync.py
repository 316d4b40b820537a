"""Generate the sync side from the async side.

    python tools/unasync.py            write the generated files
    python tools/unasync.py --check    fail if one of them is not current

Every file of an `_async` folder becomes one of the `_sync` folder beside it. The rules below are all there is;
`ruff format` gives the result its shape.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src/lakemem/_async", "tests/_async")

RULES = [
    (r"\basync (def|with|for)\b", r"\1"),
    # Nobody cancels a thread.
    (r"\bawait asettled\((.*)\)\n", r"\1\n"),
    (r"\bawait ", ""),
    (r"\basyncio\.(Lock|Event)\b", r"threading.\1"),
    (r"\bimport asyncio\b", "import threading"),
    (r"\bAsync(ConnectionPool|Connection|Cursor|Iterator|Generator)\b", r"\1"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bAsync([A-Z]\w+)", r"\1"),
    (r"\bacall_blocking\b", "call_blocking"),
    (r"\bawithin\b", "within"),
    (r"\bapause\b", "pause"),
    (r"\bareceive\b", "receive"),
    (r"\bagather\b", "gather"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\b_async\b", "_sync"),
]
# Cancellation, and with it whatever stands between these lines, exists on the async side only.
ASYNC_ONLY = re.compile(r"^[ ]*# async only:\n.*?^[ ]*# end async only\n", re.MULTILINE | re.DOTALL)
NOTE = "# Generated from {source} by tools/unasync.py: edit that file, then run `make generate`.\n"


def generate(source: Path) -> str:
    text = ASYNC_ONLY.sub("", source.read_text("utf-8"))
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    return formatted(NOTE.format(source=source.relative_to(ROOT).as_posix()) + text, target_of(source))


def formatted(text: str, path: Path) -> str:
    for command in (["check", "--quiet", "--fix-only", "--select=I,F401"], ["format", "--quiet"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, f"--stdin-filename={path}", "-"],
            input=text, capture_output=True, text=True, check=True, cwd=ROOT,
        ).stdout  # fmt: skip
    return text


def target_of(source: Path) -> Path:
    return source.parent.parent / "_sync" / source.name


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for folder in FOLDERS:
        sources = sorted((ROOT / folder).glob("*.py"))
        wanted = {target_of(source): generate(source) for source in sources}
        left_over = set((ROOT / folder).parent.glob("_sync/*.py")) - set(wanted)
        for path, text in wanted.items():
            if not path.exists() or path.read_text("utf-8") != text:
                stale.append(path)
                if not check:
                    path.parent.mkdir(exist_ok=True)
                    path.write_text(text, "utf-8")
        stale.extend(left_over)
        if not check:
            for path in left_over:
                path.unlink()
    for path in stale:
        print(("not current: " if check else "written: ") + path.relative_to(ROOT).as_posix())
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
