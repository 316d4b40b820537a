"""For tests: databases that cost milliseconds, and a model that follows a script."""

from lakemem.testing.databases import DatabaseFactory as DatabaseFactory
