-- Puts a new version in its `place` and closes `held`, unless that says the same, or a memory that is `near` does.
latest AS MATERIALIZED (
    SELECT max(version) AS version, max(valid_to) AS valid_to
    FROM (
        SELECT version, valid_to FROM {schema}.memories
        WHERE owner = %(owner)s AND key = %(key)s AND namespace = %(namespace)s::text[]
        ORDER BY version DESC
        LIMIT 1
    ) AS last
), kept AS MATERIALIZED (
    SELECT outcome, key, version, expires_at
    FROM (
        SELECT
            'unchanged' AS outcome, %(key)s::text AS key, version, 2::float8 AS score,
            clock_timestamp() + make_interval(secs => %(expires_in)s::float8) AS expires_at
        FROM held WHERE same
        UNION ALL
        -- The one that ends later keeps what both say.
        SELECT
            'merged', key, version, score,
            CASE WHEN expires_at IS NOT NULL AND %(expires_in)s::float8 IS NOT NULL
                THEN greatest(expires_at, clock_timestamp() + make_interval(secs => %(expires_in)s::float8))
            END
        FROM near WHERE is_twin AND NOT EXISTS (SELECT FROM held)
    ) AS candidate
    ORDER BY score DESC, key
    LIMIT 1
), renewed AS (
    -- What is kept lasts as long as was last asked for, and is as important as ever said.
    UPDATE {schema}.memories AS m
    SET expires_at = kept.expires_at,
        lifetime = CASE WHEN m.expires_at IS NOT DISTINCT FROM kept.expires_at THEN m.lifetime END,
        importance = greatest(m.importance, %(importance)s::real),
        sources = m.sources || ARRAY(SELECT unnest(%(sources)s::text[]) EXCEPT SELECT unnest(m.sources) ORDER BY 1)
    FROM kept
    WHERE m.owner = %(owner)s AND m.key = kept.key AND m.version = kept.version
        AND m.namespace = %(namespace)s::text[] AND m.valid_to IS NULL
        AND (
            m.expires_at IS DISTINCT FROM kept.expires_at OR m.importance < %(importance)s::real
            OR NOT m.sources @> %(sources)s::text[]
        )
    RETURNING {memory_columns}
), closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = coalesce(place.at, greatest(clock_timestamp(), m.valid_from + interval '1 microsecond')),
        superseded_by = latest.version + 1
    FROM held CROSS JOIN place CROSS JOIN latest
    WHERE m.owner = %(owner)s AND m.key = %(key)s AND m.version = held.version
        AND m.namespace = %(namespace)s::text[] AND (m.valid_to IS NULL OR place.at IS NOT NULL)
        AND NOT EXISTS (SELECT FROM kept)
    RETURNING m.valid_to AS at
), saved AS (
    INSERT INTO {schema}.memories AS m (
        owner, namespace, key, version, kind, value, text, metadata, embedding, embedding_model, content_hash,
        importance, thread_id, position, occurred_at, sources, similar_to,
        expires_at, valid_from, valid_to, superseded_by, created_at
    )
    SELECT
        %(owner)s, %(namespace)s::text[], %(key)s, coalesce(latest.version, 0) + 1, %(kind)s, %(value)s::json, %(text)s,
        %(metadata)s::jsonb, %(embedding)s::text::{vector}.halfvec, %(embedding_model)s, %(content_hash)s::bytea,
        %(importance)s, %(thread_id)s, %(position)s, %(occurred_at)s, %(sources)s::text[],
        ARRAY(SELECT key FROM near ORDER BY score DESC, key LIMIT 3),
        timed.at + make_interval(secs => %(expires_in)s::float8),
        coalesce(place.at, timed.at), place.valid_to, place.superseded_by, coalesce(before.created_at, timed.at)
    -- Reading from `closed` makes Postgres close the old version first. The time is taken after that has been waited for.
    FROM (SELECT max(at) AS at FROM closed) AS closed
        CROSS JOIN latest CROSS JOIN place
        CROSS JOIN (SELECT max(created_at) AS created_at FROM held WHERE alive) AS before
        CROSS JOIN LATERAL (
            SELECT coalesce(
                CASE WHEN place.at IS NULL THEN closed.at END, greatest(clock_timestamp(), latest.valid_to)
            ) AS at
        ) AS timed
    WHERE NOT EXISTS (SELECT FROM kept)
    RETURNING {memory_columns}
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT
        %(owner)s, %(namespace)s::text[], key, version,
        CASE WHEN EXISTS (SELECT FROM closed) THEN %(closing)s ELSE 'save' END
    FROM saved
    UNION ALL
    SELECT %(owner)s, %(namespace)s::text[], key, version, 'merge' FROM kept WHERE outcome = 'merged'
)
SELECT saved.*, CASE WHEN similar_to = '{{}}' THEN 'saved' ELSE 'linked' END FROM saved
UNION ALL
SELECT renewed.*, kept.outcome FROM renewed CROSS JOIN kept
UNION ALL
SELECT m.* FROM kept CROSS JOIN LATERAL (
    SELECT {memory_columns}, kept.outcome
    FROM {schema}.memories AS m
    WHERE m.owner = %(owner)s AND m.key = kept.key AND m.version = kept.version
        AND m.namespace = %(namespace)s::text[] AND NOT EXISTS (SELECT FROM renewed)
    LIMIT 1
) AS m
