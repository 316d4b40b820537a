# Generated from src/lakemem/_async/__init__.py by tools/unasync.py: edit that file, then run `make generate`.
"""All that waits for Postgres, written for asyncio. `_sync` is generated from it by tools/unasync.py."""
