-- What an operation sets before its statement, in the same transaction.

-- name: set_owner
-- The owner whose rows are seen: for this transaction, and so never for whoever uses the connection next.
SELECT set_config('lakemem.owner', %(owner)s, true);

-- name: set_writer
-- The same for what writes: it waits while all of this owner is erased, and the erasure waits for it.
SELECT set_config('lakemem.owner', %(owner)s, true),
    pg_advisory_xact_lock_shared(hashtextextended('lakemem writes of ' || %(owner)s, 0));

-- name: set_sole_writer
-- When nobody else may write as this owner.
SELECT set_config('lakemem.owner', %(owner)s, true),
    pg_advisory_xact_lock(hashtextextended('lakemem writes of ' || %(owner)s, 0));

-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0));
