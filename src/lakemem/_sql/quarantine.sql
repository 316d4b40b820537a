-- Writes that a policy holds back.

-- name: hold
-- The same write is held once, and since its first time, however often somebody tries it.
WITH held AS (
    INSERT INTO {schema}.quarantine AS q (
        owner, quarantine_id, action, reason, trust, namespace, key, draft, expires_at
    )
    VALUES (
        %(owner)s, %(quarantine_id)s, %(action)s, %(reason)s, %(trust)s, %(namespace)s::text[], %(key)s,
        %(draft)s::json, clock_timestamp() + make_interval(secs => %(keep_for)s::float8)
    )
    ON CONFLICT (owner, quarantine_id) DO UPDATE SET
        held_at = CASE WHEN q.expires_at > now() THEN q.held_at ELSE excluded.held_at END,
        reason = excluded.reason, expires_at = excluded.expires_at
    RETURNING xmax = 0 AS is_new
)
INSERT INTO {schema}.memory_events (owner, namespace, key, action, reason)
SELECT %(owner)s, %(namespace)s::text[], %(key)s, 'quarantine', %(reason)s FROM held WHERE is_new;

-- name: listing
SELECT quarantine_id, owner, reason, action, trust, namespace, key, draft::text, held_at, expires_at
FROM {schema}.quarantine
WHERE owner = %(owner)s AND expires_at > now()
ORDER BY held_at, quarantine_id
LIMIT %(limit)s;

-- name: of_everybody
-- For the owner 'maintenance'.
SELECT quarantine_id, owner, reason, action, trust, namespace, key, draft::text, held_at, expires_at
FROM {schema}.quarantine
WHERE expires_at > now()
ORDER BY held_at, quarantine_id
LIMIT %(limit)s;

-- name: get
SELECT quarantine_id, owner, reason, action, trust, namespace, key, draft::text, held_at, expires_at
FROM {schema}.quarantine
WHERE owner = %(owner)s AND quarantine_id = %(quarantine_id)s AND expires_at > now();

-- name: leave
SELECT {schema}.leave_quarantine(%(owner)s, %(quarantine_id)s);

-- name: reject
WITH gone AS (
    DELETE FROM {schema}.quarantine
    WHERE owner = %(owner)s AND quarantine_id = %(quarantine_id)s AND expires_at > now()
    RETURNING namespace, key, reason
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, action, reason)
    SELECT %(owner)s, namespace, key, 'reject', reason FROM gone
)
SELECT key FROM gone;

-- name: owners_of_expired
-- Some of those whose writes were held long enough; for the owner 'sweep'.
SELECT DISTINCT owner
FROM (SELECT owner FROM {schema}.quarantine WHERE expires_at <= now() LIMIT %(limit)s) AS expired;

-- name: sweep
WITH removed AS (
    DELETE FROM {schema}.quarantine
    WHERE owner = %(owner)s AND quarantine_id = ANY (ARRAY(
        SELECT quarantine_id FROM {schema}.quarantine WHERE owner = %(owner)s AND expires_at <= now() LIMIT %(limit)s
    ))
    RETURNING quarantine_id
)
SELECT count(*) FROM removed;
