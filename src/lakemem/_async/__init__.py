"""All that waits for Postgres, written for asyncio. `_sync` is generated from it by tools/unasync.py."""
