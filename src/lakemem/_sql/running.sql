-- What the workers of runs do: claim, renew, append, conclude. Leases run by the database's clock.

-- name: due
-- For the owner 'runs', who sees what is due of everybody. Those who have waited longest come first.
SELECT r.owner
FROM {schema}.runs AS r
WHERE r.status = 'queued' AND r.owner <> ALL (%(except)s::text[])
    OR r.status = 'in_progress' AND %(takes_over)s::boolean
GROUP BY r.owner
ORDER BY min(r.run_after), r.owner
LIMIT %(limit)s;

-- name: backlog
-- For the owner 'runs'.
SELECT count(*) FROM {schema}.runs WHERE status = 'queued';

-- name: dead
-- For the owner 'dead runs'.
SELECT {run_columns}
FROM {schema}.runs AS r
WHERE r.error_code = 'attempts_exhausted'
ORDER BY r.completed_at, r.owner, r.run_id
LIMIT %(limit)s;

-- name: settle
-- Ends what must not go on: cancelled, out of time, or out of attempts. What failed says so in its last events.
WITH settled AS (
    UPDATE {schema}.runs AS r
    SET status = CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE 'failed' END,
        error_code = CASE
            WHEN r.cancel_requested_at IS NOT NULL THEN NULL
            WHEN r.deadline <= now() THEN 'timeout'
            ELSE 'attempts_exhausted'
        END,
        error_message = CASE
            WHEN r.cancel_requested_at IS NOT NULL THEN NULL
            WHEN r.deadline <= now() THEN 'the run took longer than its timeout'
            ELSE 'the run was given up: every process that worked on it ended before the run did'
        END,
        last_sequence = r.last_sequence
            + CASE WHEN r.cancel_requested_at IS NULL THEN cardinality(%(failure_events)s::text[]) ELSE 0 END,
        worker = NULL, leased_until = NULL, completed_at = clock_timestamp()
    WHERE r.owner = %(owner)s AND r.run_id = ANY (ARRAY(
        SELECT r.run_id FROM {schema}.runs AS r
        WHERE r.owner = %(owner)s AND r.status IN ('queued', 'in_progress') AND (
            {run_is_due} AND (
                r.cancel_requested_at IS NOT NULL
                OR r.attempt - r.uncounted >= least(r.max_attempts, %(max_attempts)s::integer)
            )
            -- A worker that is there ends its runs by itself, and has some time for it.
            OR r.deadline <= now() - CASE r.status WHEN 'queued' THEN interval '0' ELSE interval '10 seconds' END
            OR r.status = 'in_progress' AND r.cancel_requested_at < now() - interval '15 seconds'
        )
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING r.run_id, r.status, r.attempt, r.last_sequence, r.error_code, r.error_message
), failed AS (
    SELECT * FROM settled WHERE status = 'failed'
), told AS (
    {failure_events}
)
SELECT pg_notify({runs_channel}, '- moved ' || string_agg(left(md5(run_id), 16), ' '))
FROM (SELECT run_id FROM settled LIMIT 400) AS named
HAVING count(*) > 0;

-- name: claim
-- The runs of a thread go one after the other, in their order. The caller holds the lock on the owner's runs. One that
-- is named needs not to be due.
WITH next AS MATERIALIZED (
    SELECT r.run_id
    FROM {schema}.runs AS r
    WHERE r.owner = %(owner)s AND r.status IN ('queued', 'in_progress')
        AND CASE WHEN %(run_id)s::text IS NULL THEN {run_is_due}
            ELSE r.run_id = %(run_id)s::text AND r.status = 'queued' END
        AND NOT EXISTS (
            SELECT FROM {schema}.runs AS other
            WHERE other.owner = %(owner)s AND other.thread_id = r.thread_id
                AND other.status IN ('queued', 'in_progress') AND other.run_id <> r.run_id
                AND r.status = 'queued'
                AND (other.status = 'in_progress' OR (other.created_at, other.run_id) < (r.created_at, r.run_id))
        )
        AND (%(per_owner)s::bigint IS NULL OR r.status = 'in_progress' OR %(per_owner)s::bigint > (
            SELECT count(*) FROM {schema}.runs AS other
            WHERE other.owner = %(owner)s AND other.status = 'in_progress'
        ))
    ORDER BY r.created_at, r.run_id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE {schema}.runs AS r
SET status = 'in_progress', attempt = r.attempt + 1, worker = %(worker)s::bigint,
    touched_at = clock_timestamp(), leased_until = clock_timestamp() + make_interval(secs => %(lease_for)s::float8),
    started_at = coalesce(r.started_at, clock_timestamp())
FROM next
WHERE r.owner = %(owner)s AND r.run_id = next.run_id
RETURNING {run_columns}, extract(epoch FROM r.deadline - clock_timestamp())::float8;

-- name: append
-- The attempt is checked, the lease renewed and the numbers given in one. What it returns tells one that was fenced
-- off from the repetition of one whose answer was lost.
WITH advanced AS (
    UPDATE {schema}.runs AS r
    SET last_sequence = r.last_sequence + cardinality(%(events)s::text[]), touched_at = clock_timestamp(),
        worker = %(worker)s::bigint,
        leased_until = clock_timestamp() + make_interval(secs => %(lease_for)s::float8)
    WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s AND r.attempt = %(attempt)s::integer
        AND r.status = 'in_progress' AND r.last_sequence = %(last_sequence)s::bigint
    RETURNING r.last_sequence
), stored AS (
    INSERT INTO {schema}.run_events (owner, run_id, sequence_number, attempt, event)
    SELECT %(owner)s, %(run_id)s, %(last_sequence)s::bigint + e.place, %(attempt)s::integer, e.event
    FROM advanced CROSS JOIN unnest(%(events)s::text[]) WITH ORDINALITY AS e (event, place)
)
SELECT a.last_sequence IS NOT NULL, r.attempt, coalesce(a.last_sequence, r.last_sequence), r.status,
    r.cancel_requested_at IS NOT NULL
FROM {schema}.runs AS r LEFT JOIN advanced AS a ON true
WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s;

-- name: conclude
-- The last events of an attempt, those of a failure behind them, and what becomes of the run: all or nothing.
WITH held AS MATERIALIZED (
    SELECT CASE
        WHEN r.cancel_requested_at IS NOT NULL AND %(outcome)s IN ('erred', 'released', 'waiting') THEN 'cancelled'
        WHEN %(outcome)s = 'released' THEN 'queued'
        WHEN %(outcome)s <> 'erred' THEN %(outcome)s
        WHEN r.attempt - r.uncounted < least(r.max_attempts, %(max_attempts)s::integer) THEN 'queued'
        ELSE 'failed'
    END AS status
    FROM {schema}.runs AS r
    WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s AND r.attempt = %(attempt)s::integer
        AND r.status = 'in_progress' AND r.last_sequence = %(last_sequence)s::bigint
    FOR UPDATE
), concluded AS (
    UPDATE {schema}.runs AS r
    SET last_sequence = r.last_sequence + cardinality(%(events)s::text[])
            + CASE held.status WHEN 'failed' THEN cardinality(%(failure_events)s::text[]) ELSE 0 END,
        status = held.status,
        worker = NULL, leased_until = NULL, touched_at = clock_timestamp(),
        output = coalesce(%(output)s::text, r.output),
        metadata = r.metadata || coalesce(%(metadata)s::jsonb, '{{}}'),
        error_code = CASE WHEN held.status IN ('failed', 'incomplete') THEN %(error_code)s::text END,
        error_message = CASE WHEN held.status IN ('failed', 'incomplete') THEN %(error_message)s::text END,
        completed_at = CASE WHEN held.status NOT IN ('queued', 'waiting') THEN clock_timestamp() END,
        -- The pauses between attempts double, and vary, so that runs which failed together do not come back together.
        run_after = clock_timestamp() + make_interval(secs => CASE WHEN %(outcome)s = 'erred' THEN
            (0.75 + random() / 2) * least(60, %(pause)s::float8 * 2 ^ least(r.attempt - r.uncounted - 1, 30)) ELSE 0 END),
        uncounted = r.uncounted + CASE WHEN %(outcome)s IN ('released', 'waiting') THEN 1 ELSE 0 END,
        question = CASE WHEN held.status = 'waiting' THEN %(question)s::text ELSE r.question END,
        answer = CASE WHEN held.status = 'waiting' THEN NULL ELSE r.answer END,
        asked_by = CASE WHEN held.status = 'waiting' THEN r.attempt ELSE r.asked_by END,
        waiting_since = CASE WHEN held.status = 'waiting' THEN clock_timestamp() END
    FROM held
    WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s
    RETURNING r.run_id, r.status, r.attempt, r.last_sequence, r.error_code, r.error_message,
        CASE WHEN held.status = 'queued' OR EXISTS (
            SELECT FROM {schema}.runs AS other
            WHERE other.owner = %(owner)s AND other.thread_id = r.thread_id AND other.status = 'queued'
        ) THEN pg_notify({runs_channel}, '- queued') IS NULL END
), failed AS (
    SELECT * FROM concluded WHERE status = 'failed'
), told AS (
    {failure_events}
), stored AS (
    INSERT INTO {schema}.run_events (owner, run_id, sequence_number, attempt, event)
    SELECT %(owner)s, %(run_id)s, %(last_sequence)s::bigint + e.place, %(attempt)s::integer, e.event
    FROM concluded CROSS JOIN unnest(%(events)s::text[]) WITH ORDINALITY AS e (event, place)
)
SELECT c.status IS NOT NULL, r.attempt, coalesce(c.last_sequence, r.last_sequence), coalesce(c.status, r.status),
    r.cancel_requested_at IS NOT NULL
FROM {schema}.runs AS r LEFT JOIN concluded AS c ON true
WHERE r.owner = %(owner)s AND r.run_id = %(run_id)s;

-- name: beat
-- Renews the leases of a worker. The runs that it does not return are lost.
SELECT owner, run_id, cancel_requested
FROM {schema}.beat(
    %(worker)s::bigint, %(lease_for)s::float8, %(owners)s::text[], %(run_ids)s::text[], %(attempts)s::integer[]
);

-- name: has_due
-- Whether there is something for a worker to do: of anybody but those whom it names.
SELECT {schema}.has_due(%(takes_over)s::boolean, %(besides)s::text[]);

-- name: fence
-- In the transaction of whatever else the handler of an attempt writes.
SELECT {schema}.check_attempt(%(owner)s, %(run_id)s, %(attempt)s::integer);
