-- Turns of conversations as memories, and what is asked for to extract facts from them.

-- name: lock
-- The lock on a thread's turns, so that those without positions follow those that are there.
SELECT pg_advisory_xact_lock(hashtextextended(%(lock)s, 0));

-- name: store
-- What is not there yet, with a job to extract facts from it. A turn that was deleted since is not stored again. The
-- caller holds the lock on the thread's turns.
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(keys)s::text[], %(values)s::text[], %(texts)s::text[], %(metadatas)s::text[], %(content_hashes)s::bytea[],
        %(embeddings)s::text[], %(embedding_models)s::text[], %(positions)s::bigint[], %(times)s::timestamptz[],
        %(trusts)s::text[]
    ) WITH ORDINALITY AS given (
        key, value, text, metadata, content_hash, embedding, embedding_model, position, occurred_at, trust, place
    )
    -- Looked up one by one, however little the planner knows of the table.
    WHERE (
        SELECT true FROM {schema}.memories AS m
        WHERE m.owner = %(owner)s AND m.key = given.key AND m.namespace = %(namespace)s::text[]
        LIMIT 1
    ) IS NULL
), last AS MATERIALIZED (
    SELECT (
        SELECT position FROM {schema}.memories
        WHERE owner = %(owner)s AND thread_id = %(thread_id)s AND position IS NOT NULL
        ORDER BY position DESC
        LIMIT 1
    ) AS position
), stored AS (
    INSERT INTO {schema}.memories (
        owner, namespace, key, version, kind, value, text, metadata, content_hash, embedding, embedding_model,
        importance, thread_id, position, occurred_at, expires_at, valid_from, created_at, trust
    )
    SELECT
        %(owner)s, %(namespace)s::text[], given.key, 1, 'turn', given.value::json, given.text, given.metadata::jsonb,
        given.content_hash, given.embedding::{vector}.halfvec, given.embedding_model, 0.5, %(thread_id)s,
        CASE WHEN %(thread_id)s::text IS NULL THEN given.position
            ELSE coalesce(given.position, coalesce(last.position, 0) + row_number() OVER (ORDER BY place)) END,
        given.occurred_at, moment.at + make_interval(secs => %(expires_in)s::float8),
        least(given.occurred_at, moment.at), moment.at, given.trust
    FROM given CROSS JOIN last CROSS JOIN (SELECT clock_timestamp() AS at) AS moment
    RETURNING key, position, valid_from, created_at, expires_at
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, %(namespace)s::text[], key, 1, 'save' FROM stored
), job AS (
    INSERT INTO {schema}.jobs (owner, job_id, kind, payload)
    SELECT
        %(owner)s, gen_random_uuid()::text, 'extract',
        jsonb_build_object('namespace', %(namespace)s::text[], 'keys', jsonb_agg(key ORDER BY given.place))
    FROM stored JOIN given USING (key)
    WHERE %(extract)s::boolean
    HAVING count(*) > 0
)
SELECT key, position, valid_from, created_at, expires_at FROM stored;

-- name: turns
-- The turns of a job that are still there; before them those that went before the first.
WITH new AS MATERIALIZED (
    SELECT
        m.key, m.value::text AS value, m.metadata->>'speaker' AS speaker, m.occurred_at, m.thread_id, m.position,
        m.trust, true AS is_new, wanted.place
    FROM unnest(%(keys)s::text[]) WITH ORDINALITY AS wanted (key, place)
    CROSS JOIN LATERAL (
        SELECT * FROM {schema}.memories AS m
        WHERE m.owner = %(owner)s AND m.key = wanted.key AND m.namespace = %(namespace)s::text[] AND m.valid_to IS NULL
            AND (m.expires_at IS NULL OR m.expires_at > now())
        LIMIT 1
    ) AS m
), first AS MATERIALIZED (
    SELECT thread_id, min(position) AS position FROM new WHERE position IS NOT NULL GROUP BY thread_id
), earlier AS MATERIALIZED (
    SELECT
        m.key, m.value::text AS value, m.metadata->>'speaker' AS speaker, m.occurred_at, m.thread_id, m.position,
        m.trust, false AS is_new, NULL::bigint AS place
    FROM first CROSS JOIN LATERAL (
        SELECT * FROM {schema}.memories AS m
        WHERE m.owner = %(owner)s AND m.thread_id = first.thread_id AND m.position < first.position
            AND m.valid_to IS NULL AND (m.expires_at IS NULL OR m.expires_at > now())
            AND m.kind = 'turn' AND m.namespace = %(namespace)s::text[]
        ORDER BY m.position DESC
        LIMIT %(earlier)s
    ) AS m
)
SELECT key, value, speaker, occurred_at, thread_id, position, trust, is_new
FROM (SELECT * FROM earlier UNION ALL SELECT * FROM new) AS found
ORDER BY is_new, place, thread_id, position;
