-- Jobs: who has some that are due, how one is taken, and how it ends. Leases run by the database's clock.

-- name: owners
-- For the owner 'jobs', who sees the due jobs of everybody. Those who have waited longest come first.
SELECT owner
FROM {schema}.jobs
WHERE status <> 'dead' AND greatest(run_after, leased_until) <= now() AND kind = ANY (%(kinds)s::text[])
GROUP BY owner
ORDER BY min(run_after), owner
LIMIT %(limit)s;

-- name: claim
-- The jobs of an owner run one after the other, in their order: what was said later is learnt later. An index, which
-- takes its time, holds up nothing. The caller holds the lock on the owner's claims.
WITH next AS MATERIALIZED (
    SELECT job_id, kind
    FROM {schema}.jobs
    WHERE owner = %(owner)s AND status <> 'dead' AND greatest(run_after, leased_until) <= now()
        AND kind = ANY (%(kinds)s::text[])
        AND (kind = 'index' OR NOT EXISTS (
            SELECT FROM {schema}.jobs WHERE owner = %(owner)s AND leased_until > now() AND kind <> 'index'
        ))
    ORDER BY run_after, job_id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE {schema}.jobs AS j
SET status = 'running', attempts = j.attempts + 1, lease = gen_random_uuid(),
    leased_until = clock_timestamp()
        + make_interval(secs => %(lease_for)s::float8 * CASE next.kind WHEN 'index' THEN 10 ELSE 1 END)
FROM next
WHERE j.owner = %(owner)s AND j.job_id = next.job_id
RETURNING j.owner, j.job_id, j.kind, j.attempts, j.created_at, j.last_error, j.payload::text, j.lease;

-- name: complete
SELECT {schema}.complete_job(%(owner)s, %(job_id)s, %(lease_id)s::uuid);

-- name: finish
-- For work that may be done twice: where somebody else has asked for more of it, the job stays.
DELETE FROM {schema}.jobs
WHERE owner = %(owner)s AND job_id = %(job_id)s AND lease = %(lease_id)s::uuid
RETURNING job_id;

-- name: fail
-- The pauses between attempts double, and vary, so that jobs which failed together do not come back together.
UPDATE {schema}.jobs
SET status = CASE WHEN attempts >= %(max_attempts)s::integer THEN 'dead' ELSE 'queued' END,
    lease = NULL, leased_until = NULL, last_error = %(error)s,
    run_after = clock_timestamp() + make_interval(
        secs => (0.75 + random() / 2) * least(%(max_pause)s::float8, %(pause)s::float8 * 2 ^ least(attempts - 1, 30))
    )
WHERE owner = %(owner)s AND job_id = %(job_id)s AND lease = %(lease_id)s::uuid
RETURNING status;

-- name: release
-- An attempt that was not made does not count.
UPDATE {schema}.jobs
SET status = 'queued', lease = NULL, leased_until = NULL, attempts = attempts - 1
WHERE owner = %(owner)s AND job_id = %(job_id)s AND lease = %(lease_id)s::uuid
RETURNING job_id;

-- name: dead
-- For the owner 'jobs', who sees the dead jobs of everybody.
SELECT owner, job_id, kind, attempts, created_at, last_error
FROM {schema}.jobs
WHERE status = 'dead'
ORDER BY created_at, owner, job_id
LIMIT %(limit)s;

-- name: revive
UPDATE {schema}.jobs
SET status = 'queued', attempts = 0, run_after = clock_timestamp()
WHERE owner = %(owner)s AND status = 'dead'
RETURNING job_id;

-- name: queue_embedding
-- One job for all of an owner's memories without a vector. Whoever is at it may have looked before this one was
-- there: without its lease it cannot end the job.
INSERT INTO {schema}.jobs AS j (owner, job_id, kind)
VALUES (%(owner)s, 'embed', 'embed')
ON CONFLICT (owner, job_id) DO UPDATE
    SET status = 'queued', lease = NULL, leased_until = NULL,
        attempts = CASE WHEN j.status = 'dead' THEN 0 ELSE j.attempts END;

-- name: unembedded
SELECT namespace, key, version, text
FROM {schema}.memories
WHERE owner = %(owner)s AND valid_to IS NULL AND embedding_model IS NULL
    AND (expires_at IS NULL OR expires_at > now())
    AND (%(after_key)s::text IS NULL
        OR (key, version, namespace) > (%(after_key)s, %(after_version)s::bigint, %(after_namespace)s::text[]))
ORDER BY key, version, namespace
LIMIT %(limit)s;

-- name: embed
-- Only where the memory is still what was embedded, and nobody else has done it.
WITH given AS MATERIALIZED (
    SELECT namespace::text[] AS namespace, key, version, embedding
    FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(versions)s::bigint[], %(embeddings)s::text[])
        AS given (namespace, key, version, embedding)
), filled AS (
    UPDATE {schema}.memories AS m
    SET embedding = given.embedding::{vector}.halfvec, embedding_model = %(embedding_model)s,
        stored_at = clock_timestamp()
    FROM given
    WHERE m.owner = %(owner)s AND m.key = given.key AND m.version = given.version AND m.namespace = given.namespace
        AND m.valid_to IS NULL AND m.embedding_model IS NULL
    RETURNING m.key
)
SELECT count(*) FROM filled;
