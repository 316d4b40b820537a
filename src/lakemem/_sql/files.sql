-- Files: memories whose keys are paths.

-- name: read
-- The files in some ranges of keys, each range found by the index; their texts where they are asked for.
SELECT
    m.key, max(m.version), max(m.size), min(m.value) FILTER (WHERE m.with_text), max(m.trust)
FROM unnest(%(lows)s::text[], %(highs)s::text[], %(with_texts)s::boolean[]) AS part (low, high, with_text)
CROSS JOIN LATERAL (
    SELECT
        key, version, trust, part.with_text, CASE WHEN part.with_text THEN value::text END AS value,
        -- An escape of a character that no text of Postgres can hold is counted as it is written.
        CASE
            WHEN json_typeof(value) = 'string' AND strpos(value::text, '\u') = 0 THEN octet_length(value #>> '{{}}')
            ELSE octet_length(value::text)
        END AS size
    FROM {schema}.memories
    WHERE owner = %(owner)s AND key >= part.low AND key < part.high AND namespace = %(namespace)s::text[]
        AND valid_to IS NULL AND (expires_at IS NULL OR expires_at > now())
) AS m
GROUP BY m.key;

-- name: write
-- Changes to files, all of them or none: none where a file in the ranges that were read is not as it was. The caller
-- holds the locks on the keys.
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(keys)s::text[], %(versions)s::bigint[], %(values)s::text[], %(texts)s::text[], %(origins)s::text[],
        %(embeddings)s::text[], %(embedding_models)s::text[], %(content_hashes)s::bytea[]
    ) AS given (key, version, value, text, origin, embedding, embedding_model, content_hash)
), present AS MATERIALIZED (
    SELECT DISTINCT ON (m.key) m.*
    FROM unnest(%(lows)s::text[], %(highs)s::text[]) AS part (low, high)
    JOIN {schema}.memories AS m
        ON m.owner = %(owner)s AND m.key >= part.low AND m.key < part.high AND m.namespace = %(namespace)s::text[]
    WHERE m.valid_to IS NULL AND (m.expires_at IS NULL OR m.expires_at > now())
), changed AS MATERIALIZED (
    SELECT
    FROM given FULL JOIN present USING (key)
    WHERE given.version IS DISTINCT FROM present.version
), moment AS MATERIALIZED (
    SELECT
        given.*, coalesce(last.version, 0) AS latest,
        greatest(clock_timestamp(), last.valid_from + interval '1 microsecond', last.valid_to) AS at
    FROM given
    CROSS JOIN LATERAL (
        SELECT max(version) AS version, max(valid_from) AS valid_from, max(valid_to) AS valid_to
        FROM {schema}.memories
        WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = given.key
    ) AS last
    WHERE NOT EXISTS (SELECT FROM changed)
), closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = moment.at, superseded_by = CASE WHEN moment.value IS NOT NULL THEN moment.latest + 1 END
    FROM moment
    WHERE m.owner = %(owner)s AND m.namespace = %(namespace)s::text[] AND m.key = moment.key AND m.valid_to IS NULL
    RETURNING m.key, m.version, moment.value IS NULL AND moment.version IS NOT NULL AS is_deleted
), saved AS (
    INSERT INTO {schema}.memories (
        owner, namespace, key, version, value, text, embedding, embedding_model, content_hash,
        metadata, importance, kind, thread_id, position, occurred_at, expires_at, lifetime, sources,
        valid_from, created_at, trust
    )
    SELECT
        %(owner)s, %(namespace)s::text[], moment.key, moment.latest + 1, moment.value::json, moment.text,
        moment.embedding::{vector}.halfvec, moment.embedding_model, moment.content_hash,
        coalesce(origin.metadata, '{{}}'), coalesce(greatest(origin.importance, origin.said_importance), 0.5),
        coalesce(origin.kind, 'fact'), origin.thread_id, origin.position, origin.occurred_at, origin.expires_at,
        origin.lifetime,
        CASE WHEN origin.key <> moment.key THEN ARRAY[origin.key] ELSE coalesce(origin.sources, '{{}}') END,
        moment.at, coalesce(origin.created_at, moment.at),
        -- What is moved is said by whoever said it; what is changed is as trusted as the least of its parts.
        CASE WHEN origin.key <> moment.key OR origin.trust = ANY (%(less_trusted)s::text[])
            THEN origin.trust ELSE %(trust)s
        END
    -- Reading from `closed` makes Postgres close the old versions first.
    FROM moment
    CROSS JOIN (SELECT count(*) FROM closed) AS after_closing
    LEFT JOIN present AS origin ON origin.key = moment.origin
    WHERE moment.value IS NOT NULL
    RETURNING key, version
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, %(namespace)s::text[], key, version, 'delete' FROM closed WHERE is_deleted
    UNION ALL
    SELECT
        %(owner)s, %(namespace)s::text[], saved.key, saved.version,
        CASE WHEN given.origin = given.key THEN 'update' ELSE 'save' END
    FROM saved JOIN given USING (key)
)
SELECT NOT EXISTS (SELECT FROM changed);
