-- What a sweep through all owners asks, as the owner 'sweep', who sees which threads there are and whose writes are
-- marked. What it finds it removes as each of their owners. Those who are on hold it leaves out.

-- name: threads
-- In the order of the primary key, from the place behind the page before.
SELECT owner, thread_id, coalesce(expires_at <= now(), false)
FROM {schema}.threads
WHERE owner NOT IN (SELECT owner FROM {schema}.holds)
    AND (owner, thread_id) > (%(after_owner)s, %(after_thread)s)
    AND (NOT %(expired_only)s::boolean OR expires_at <= now())
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

-- name: ended_runs
-- Those that ended first come first.
SELECT owner, run_id
FROM {schema}.runs
WHERE completed_at < now() - make_interval(secs => %(older_than)s::float8)
    AND (NOT %(with_events)s::boolean OR first_sequence <= last_sequence)
    AND owner NOT IN (SELECT owner FROM {schema}.holds)
ORDER BY completed_at
LIMIT %(limit)s;

-- name: forget_run_events
-- The caller holds the rows of the runs. Who asks for what is gone is told so.
WITH ended AS MATERIALIZED (
    SELECT run_id FROM {schema}.runs
    WHERE owner = %(owner)s AND run_id = ANY (%(run_ids)s::text[])
        AND status NOT IN ('queued', 'in_progress', 'waiting')
), noted AS (
    UPDATE {schema}.runs AS r
    SET first_sequence = r.last_sequence + 1
    FROM ended
    WHERE r.owner = %(owner)s AND r.run_id = ended.run_id
), forgotten AS (
    DELETE FROM {schema}.run_events AS e
    USING ended
    WHERE e.owner = %(owner)s AND e.run_id = ended.run_id
    RETURNING e.run_id
)
SELECT count(*) FROM forgotten;
