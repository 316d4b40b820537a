-- What an operation sets before its statement, in the same transaction.

-- name: set_owner
-- The owner whose rows are seen: for this transaction, and so never for whoever uses the connection next.
SELECT set_config('lakemem.owner', %(owner)s, true);

-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0));
