"""Folders for the data of servers: in memory, where there is room, since most of what a new database costs is files."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

MEMORY = Path("/dev/shm")
ROOM = 6 * 1024**3


def server_folder(name: str) -> TemporaryDirectory[str]:
    """Not below pytest's own folder: each start of pytest closes that to all but root, and a server started as root
    runs as somebody else."""
    place = MEMORY if has_room() else None
    return TemporaryDirectory(prefix=f"lakemem-{name}-", dir=place, ignore_cleanup_errors=True)


def has_room() -> bool:
    import psutil

    try:
        return min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > ROOM
    except OSError:
        return False
