"""For tests: databases that cost milliseconds, and a Databricks workspace with a Lakebase on this machine."""

from typing import TYPE_CHECKING, Any

from lakemem.testing.databases import DatabaseFactory as DatabaseFactory

if TYPE_CHECKING:
    from lakemem.testing.emulator import LakebaseEmulator as LakebaseEmulator


def __getattr__(name: str) -> Any:
    # An extra brings what the emulator needs.
    if name == "LakebaseEmulator":
        from lakemem.testing.emulator import LakebaseEmulator

        return LakebaseEmulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
