-- Runs as their owner sees them. Whoever listens is told of what changes here by the statement itself: it is rare.
-- What a notification names, it names by a hash, for anyone may listen.

-- name: create
-- The caller holds the lock on the owner's runs, so that what is counted here holds.
WITH same AS MATERIALIZED (
    SELECT r.run_id FROM {schema}.runs AS r
    WHERE r.owner = %(owner)s AND r.idempotency_key = %(idempotency_key)s::text
), busy AS MATERIALIZED (
    SELECT r.run_id FROM {schema}.runs AS r
    WHERE r.owner = %(owner)s AND r.thread_id = %(thread_id)s::text AND r.status IN ('queued', 'in_progress')
), refused AS MATERIALIZED (
    SELECT CASE
        WHEN %(on_busy)s = 'reject' AND EXISTS (SELECT FROM busy) THEN 'busy'
        WHEN %(max_queued)s::bigint <= (
            SELECT count(*) FROM {schema}.runs AS r WHERE r.owner = %(owner)s AND r.status = 'queued'
        ) THEN 'full'
    END AS reason
), interrupted AS (
    UPDATE {schema}.runs AS r
    SET cancel_requested_at = coalesce(r.cancel_requested_at, clock_timestamp()),
        status = CASE r.status WHEN 'queued' THEN 'cancelled' ELSE r.status END,
        completed_at = CASE r.status WHEN 'queued' THEN clock_timestamp() END
    FROM busy, refused
    WHERE r.owner = %(owner)s AND r.run_id = busy.run_id AND %(on_busy)s = 'interrupt'
        AND refused.reason IS NULL AND NOT EXISTS (SELECT FROM same)
    RETURNING r.run_id
), told AS MATERIALIZED (
    SELECT pg_notify({runs_channel}, '- moved ' || string_agg(left(md5(run_id), 16), ' '))
    FROM interrupted HAVING count(*) > 0
), created AS (
    INSERT INTO {schema}.runs AS r (
        owner, run_id, thread_id, previous_run_id, kind, background, request, metadata, idempotency_key, max_attempts,
        run_after, deadline
    )
    SELECT %(owner)s, %(run_id)s, %(thread_id)s::text, %(previous_run_id)s::text, %(kind)s,
        %(background)s::boolean, %(request)s, %(metadata)s::jsonb, %(idempotency_key)s::text,
        %(max_attempts)s::integer, clock_timestamp() + make_interval(secs => %(delay)s::float8),
        clock_timestamp() + make_interval(secs => %(timeout)s::float8)
    FROM refused
    WHERE refused.reason IS NULL AND NOT EXISTS (SELECT FROM same)
    RETURNING {run_columns}, pg_notify({runs_channel}, '- queued') IS NULL
)
SELECT refused.reason, (SELECT count(*) FROM told), found.*
FROM refused LEFT JOIN (
    SELECT created.* FROM created
    UNION ALL
    SELECT {run_columns}, true FROM {schema}.runs AS r
    WHERE r.owner = %(owner)s AND r.run_id = (SELECT run_id FROM same)
) AS found ON true;

-- name: get
SELECT {run_columns} FROM {schema}.runs AS r WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s;

-- name: owner_of
-- For the owner 'tails'. An id is made up by chance, and so is one owner's alone.
SELECT r.owner FROM {schema}.runs AS r WHERE r.run_id = %(run_id)s AND r.max_attempts > 0 ORDER BY r.created_at LIMIT 1;

-- name: listing
-- The newest first.
SELECT {run_columns}
FROM {schema}.runs AS r
WHERE r.owner = %(owner)s
    AND (%(status)s::text IS NULL OR r.status = %(status)s::text)
    AND (%(thread_id)s::text IS NULL OR r.thread_id = %(thread_id)s::text)
    AND (%(after)s::text IS NULL OR (r.created_at, r.run_id) < (
        SELECT a.created_at, a.run_id FROM {schema}.runs AS a
        WHERE a.owner = %(owner)s AND a.run_id = %(after)s::text
    ))
ORDER BY r.created_at DESC, r.run_id DESC
LIMIT %(limit)s;

-- name: state
-- Read before the events: of a run that has ended, all are there.
SELECT status, first_sequence, last_sequence
FROM {schema}.runs
WHERE owner = %(owner)s AND run_id = %(run_id)s;

-- name: events
SELECT sequence_number, attempt, event
FROM {schema}.run_events
WHERE owner = %(owner)s AND run_id = %(run_id)s AND sequence_number > %(after)s::bigint
ORDER BY sequence_number
LIMIT %(limit)s;

-- name: cancel
-- One that nobody works on ends here; the worker of another is told.
WITH cancelled AS (
    UPDATE {schema}.runs AS r
    SET cancel_requested_at = coalesce(r.cancel_requested_at, clock_timestamp()),
        status = CASE r.status WHEN 'in_progress' THEN r.status ELSE 'cancelled' END,
        waiting_since = NULL,
        completed_at = CASE r.status WHEN 'in_progress' THEN NULL ELSE clock_timestamp() END
    WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s AND r.status IN ('queued', 'in_progress', 'waiting')
    RETURNING {run_columns}, pg_notify({runs_channel}, '- moved ' || left(md5(r.run_id), 16)) IS NULL
)
SELECT * FROM cancelled
UNION ALL
SELECT {run_columns}, false FROM {schema}.runs AS r
WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s AND NOT EXISTS (SELECT FROM cancelled);

-- name: resume
-- The time that it waited does not count.
WITH resumed AS (
    UPDATE {schema}.runs AS r
    SET status = 'queued', answer = %(answer)s, waiting_since = NULL,
        run_after = clock_timestamp() + make_interval(secs => %(delay)s::float8),
        deadline = r.deadline + (clock_timestamp() - r.waiting_since)
    WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s AND r.status = 'waiting'
    RETURNING {run_columns}, pg_notify({runs_channel}, '- queued') IS NULL
)
SELECT * FROM resumed
UNION ALL
SELECT {run_columns}, NULL FROM {schema}.runs AS r
WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s AND NOT EXISTS (SELECT FROM resumed);

-- name: retry
-- What was given up, from the start of its attempts.
WITH retried AS (
    UPDATE {schema}.runs AS r
    SET status = 'queued', run_after = clock_timestamp(), completed_at = NULL, uncounted = r.attempt,
        error_code = NULL, error_message = NULL, cancel_requested_at = NULL,
        deadline = clock_timestamp() + (r.deadline - r.created_at)
    WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s AND r.status = 'failed'
    RETURNING {run_columns}, pg_notify({runs_channel}, '- queued') IS NULL
)
SELECT * FROM retried
UNION ALL
SELECT {run_columns}, NULL FROM {schema}.runs AS r
WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s AND NOT EXISTS (SELECT FROM retried);

-- name: hold
SELECT FROM {schema}.runs WHERE owner = %(owner)s AND run_id = ANY (%(run_ids)s::text[]) ORDER BY run_id FOR UPDATE;

-- name: delete
-- The caller holds the row, so that nothing is appended meanwhile.
WITH deleted AS (
    DELETE FROM {schema}.runs AS r WHERE r.owner = %(owner)s AND r.run_id = ANY (%(run_ids)s::text[])
    RETURNING r.run_id, pg_notify({runs_channel}, '- moved ' || left(md5(r.run_id), 16)) IS NULL
), emptied AS (
    DELETE FROM {schema}.run_events AS e
    WHERE e.owner = %(owner)s AND e.run_id = ANY (%(run_ids)s::text[])
)
SELECT count(*) FROM deleted;

-- name: moved
-- For the owner 'tails': how far each of these runs has come.
SELECT r.owner, r.run_id, r.status, r.last_sequence
FROM unnest(%(owners)s::text[], %(run_ids)s::text[]) AS watched (owner, run_id)
JOIN {schema}.runs AS r ON r.owner = watched.owner AND r.run_id = watched.run_id;

-- name: notify
SELECT pg_notify({runs_channel}, %(payload)s);
