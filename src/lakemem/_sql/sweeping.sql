-- What a sweep through all owners asks, as the owner 'sweep', who sees which threads there are and whose writes are
-- marked. What it finds it removes as each of their owners.

-- name: threads
-- In the order of the primary key, from the place behind the page before.
SELECT owner, thread_id, coalesce(expires_at <= now(), false)
FROM {schema}.threads
WHERE (owner, thread_id) > (%(after_owner)s, %(after_thread)s) AND (NOT %(expired_only)s::boolean OR expires_at <= now())
ORDER BY owner, thread_id
LIMIT %(limit)s;

-- name: owners_of_old_writes
SELECT DISTINCT owner
FROM (
    SELECT owner FROM {schema}.applied_writes
    WHERE applied_at < now() - make_interval(secs => %(older_than)s::float8)
    LIMIT %(limit)s
) AS old;

-- name: forget_writes
WITH forgotten AS (
    DELETE FROM {schema}.applied_writes
    WHERE owner = %(owner)s AND write_id = ANY (ARRAY(
        SELECT write_id FROM {schema}.applied_writes
        WHERE owner = %(owner)s AND applied_at < now() - make_interval(secs => %(older_than)s::float8)
        LIMIT %(limit)s
    ))
    RETURNING write_id
)
SELECT count(*) FROM forgotten;
