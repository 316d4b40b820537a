-- Exactly once.

-- name: mark
-- A second run with the same id waits for the first, then fails here, and its whole transaction with it.
INSERT INTO {schema}.applied_writes (owner, write_id) VALUES (%(owner)s, %(write_id)s);
