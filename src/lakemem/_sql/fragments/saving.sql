-- Puts a new version in its `place` and closes `held`, unless that says the same, a memory that is `near` does, or
-- `held` was said by somebody to whom this write yields: then nothing at all is changed.
-- Scalar subqueries find the row by the primary key, however little the planner knows of the table.
latest AS MATERIALIZED (
    SELECT max(version) AS version, max(valid_to) AS valid_to
    FROM (
        SELECT version, valid_to FROM {schema}.memories
        WHERE owner = %(owner)s AND key = %(key)s AND namespace = %(namespace)s::text[]
        ORDER BY version DESC
        LIMIT 1
    ) AS last
), target AS MATERIALIZED (
    SELECT
        CASE WHEN same THEN 'unchanged' ELSE 'closed' END AS outcome, key, version,
        CASE WHEN same THEN clock_timestamp() + make_interval(secs => %(expires_in)s::float8) ELSE expires_at END
            AS expires_at
    FROM held
    WHERE NOT {outranks}
    UNION ALL
    -- Of two times to live, the longer one keeps what both say.
    (
        SELECT
            'merged', key, version,
            CASE WHEN expires_at IS NOT NULL AND %(expires_in)s::float8 IS NOT NULL
                THEN greatest(expires_at, clock_timestamp() + make_interval(secs => %(expires_in)s::float8))
            END
        FROM near
        WHERE is_twin
        ORDER BY score DESC, key
        LIMIT 1
    )
), touched AS (
    -- What is closed stays as it was. What is kept lasts as long as was last asked for, is as important as ever said,
    -- and comes from all that said so.
    UPDATE {schema}.memories AS m
    SET valid_to = CASE WHEN outcome = 'closed'
            THEN coalesce(place.at, greatest(clock_timestamp(), m.valid_from + interval '1 microsecond'))
        END,
        superseded_by = CASE WHEN outcome = 'closed' THEN latest.version + 1 END,
        expires_at = target.expires_at,
        lifetime = CASE WHEN m.expires_at IS NOT DISTINCT FROM target.expires_at THEN m.lifetime END,
        importance = CASE WHEN outcome = 'closed' THEN m.importance ELSE greatest(m.importance, %(importance)s::real) END,
        -- Saved once more, now that there is an embedder.
        embedding = CASE WHEN outcome = 'unchanged' AND m.embedding IS NULL
            THEN %(embedding)s::text::{vector}.halfvec ELSE m.embedding
        END,
        embedding_model = CASE WHEN outcome = 'unchanged' AND m.embedding IS NULL
            THEN %(embedding_model)s ELSE m.embedding_model
        END,
        sources = CASE WHEN outcome = 'closed' OR m.sources @> %(sources)s::text[] THEN m.sources
            ELSE m.sources || %(sources)s::text[]
        END,
        -- The very same content, said now by somebody who counts for more.
        trust = CASE WHEN outcome = 'unchanged' AND m.trust = ANY (%(less_trusted)s::text[])
            THEN %(trust)s ELSE m.trust
        END
    FROM target CROSS JOIN place CROSS JOIN latest
    WHERE m.owner = %(owner)s AND m.key = (SELECT key FROM target) AND m.version = (SELECT version FROM target)
        AND m.namespace = %(namespace)s::text[]
        AND (m.valid_to IS NULL OR outcome = 'closed' AND place.at IS NOT NULL)
        AND (
            outcome <> 'unchanged' OR m.embedding IS NULL AND %(embedding)s::text IS NOT NULL
            OR m.expires_at IS DISTINCT FROM target.expires_at
            OR m.importance < %(importance)s::real OR NOT m.sources @> %(sources)s::text[]
            OR m.trust = ANY (%(less_trusted)s::text[])
        )
    RETURNING {memory_columns}, true AS alive, true AS same, target.outcome
), saved AS (
    INSERT INTO {schema}.memories AS m (
        owner, namespace, key, version, kind, value, text, metadata, embedding, embedding_model, content_hash,
        importance, thread_id, position, occurred_at, sources, similar_to,
        expires_at, valid_from, valid_to, superseded_by, created_at, trust
    )
    SELECT
        %(owner)s, %(namespace)s::text[], %(key)s, coalesce(latest.version, 0) + 1, %(kind)s, %(value)s::json, %(text)s,
        %(metadata)s::jsonb, %(embedding)s::text::{vector}.halfvec, %(embedding_model)s, %(content_hash)s::bytea,
        %(importance)s, %(thread_id)s, %(position)s, %(occurred_at)s, %(sources)s::text[],
        ARRAY(SELECT key FROM near ORDER BY score DESC, key LIMIT 3),
        timed.at + make_interval(secs => %(expires_in)s::float8),
        coalesce(place.at, timed.at), place.valid_to, place.superseded_by,
        coalesce((SELECT created_at FROM held WHERE alive), timed.at), %(trust)s
    FROM latest CROSS JOIN place CROSS JOIN LATERAL (
        -- After the old version is closed, which may have had to wait.
        SELECT coalesce(
            (SELECT valid_to FROM touched WHERE place.at IS NULL), greatest(clock_timestamp(), latest.valid_to)
        ) AS at
    ) AS timed
    -- The second condition makes Postgres close the old version first. A memory to merge with may have been forgotten
    -- in the meantime.
    WHERE NOT EXISTS (SELECT FROM held WHERE same OR {outranks}) AND NOT EXISTS (SELECT FROM touched WHERE outcome = 'merged')
    RETURNING {memory_columns}
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT
        %(owner)s, %(namespace)s::text[], key, version,
        CASE WHEN EXISTS (SELECT FROM touched) THEN %(closing)s ELSE 'save' END
    FROM saved
    UNION ALL
    SELECT %(owner)s, %(namespace)s::text[], key, version, 'merge' FROM touched WHERE outcome = 'merged'
)
SELECT saved.*, true, false, CASE WHEN similar_to = '{{}}' THEN 'saved' ELSE 'linked' END FROM saved
UNION ALL
SELECT * FROM touched WHERE outcome <> 'closed'
UNION ALL
SELECT held.*, CASE WHEN same THEN 'unchanged' ELSE 'kept' END
FROM held
WHERE (same OR {outranks}) AND NOT EXISTS (SELECT FROM touched)
