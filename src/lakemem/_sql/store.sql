-- What LangGraph's store asks for beyond the memories themselves.
--
-- What finds items returns namespace, key, version, value, created_at, updated_at and score. Its twin in `refreshing`
-- also puts off when those of them expire that have a time to live.

-- name: get
SELECT item.*
FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS wanted (namespace, key)
CROSS JOIN LATERAL (
    SELECT
        m.namespace, m.key, m.version, m.value::text AS value, m.created_at, m.valid_from AS updated_at,
        NULL::float8 AS score
    FROM {schema}.memories AS m
    WHERE m.owner = %(owner)s AND m.namespace = wanted.namespace::text[] AND m.key = wanted.key AND m.valid_to IS NULL
        AND (m.expires_at IS NULL OR m.expires_at > now())
    -- There is one at the most: with this it is looked up, and what else the owner has is not read.
    LIMIT 1
) AS item;

-- name: items
SELECT
    namespace, key, version, value::text AS value, created_at, valid_from AS updated_at, NULL::float8 AS score
FROM {schema}.memories
WHERE owner = %(owner)s AND valid_to IS NULL AND (expires_at IS NULL OR expires_at > now())
    AND namespace[1:cardinality(%(namespace)s::text[])] = %(namespace)s::text[] AND {matches}
ORDER BY valid_from DESC, namespace, key
LIMIT %(limit)s OFFSET %(offset)s;

-- name: search
SELECT hit.namespace, hit.key, hit.version, hit.value, hit.created_at, hit.valid_from AS updated_at, hit.score
FROM ({recall.search}) AS hit
ORDER BY hit.score DESC, hit.namespace, hit.key
OFFSET %(offset)s;

-- name: refreshing_get
WITH found AS MATERIALIZED ({store.get}), {refreshed}
SELECT * FROM found;

-- name: refreshing_items
WITH found AS MATERIALIZED ({store.items}), {refreshed}
SELECT * FROM found;

-- name: refreshing_search
WITH found AS MATERIALIZED ({store.search}), {refreshed}
SELECT * FROM found;

-- name: namespaces
-- The namespaces in which something is, cut to a depth. Each pattern must fit their begin or their end; '*' fits
-- any label.
SELECT DISTINCT m.namespace[1:%(depth)s::integer] AS found
FROM {schema}.memories AS m
WHERE m.owner = %(owner)s AND m.valid_to IS NULL AND (m.expires_at IS NULL OR m.expires_at > now())
    AND m.namespace <> '{{}}'
    AND NOT EXISTS (
        SELECT
        FROM jsonb_to_recordset(%(patterns)s::jsonb) AS pattern (labels text[], at_end boolean)
        WHERE cardinality(m.namespace) < cardinality(pattern.labels) OR EXISTS (
            SELECT
            FROM generate_subscripts(pattern.labels, 1) AS place
            WHERE pattern.labels[place] <> '*' AND pattern.labels[place] <> m.namespace[
                place + CASE WHEN pattern.at_end THEN cardinality(m.namespace) - cardinality(pattern.labels) ELSE 0 END
            ]
        )
    )
ORDER BY found
LIMIT %(limit)s OFFSET %(offset)s;

-- name: lock
-- The locks on several keys, always in the same order, so that no two writers wait for each other.
SELECT pg_advisory_xact_lock(place)
FROM (SELECT DISTINCT hashtextextended(name, 0) AS place FROM unnest(%(locks)s::text[]) AS name ORDER BY place) AS places;

-- name: write
-- Of each address a new version, or where the value is null, none any more. The caller holds the locks on the keys.
WITH given AS MATERIALIZED (
    SELECT
        given.namespace::text[] AS namespace, key, value, text, embedding, embedding_model, content_hash, ttl,
        clock_timestamp() AS moment
    FROM unnest(
        %(namespaces)s::text[], %(keys)s::text[], %(values)s::text[], %(texts)s::text[], %(embeddings)s::text[],
        %(embedding_models)s::text[], %(content_hashes)s::bytea[], %(ttls)s::float8[]
    ) AS given (namespace, key, value, text, embedding, embedding_model, content_hash, ttl)
), change AS MATERIALIZED (
    SELECT given.*, coalesce(latest.version, 0) AS latest, latest.valid_to
    FROM given LEFT JOIN LATERAL (
        SELECT m.version, m.valid_to
        FROM {schema}.memories AS m
        WHERE m.owner = %(owner)s AND m.namespace = given.namespace AND m.key = given.key
        ORDER BY m.version DESC
        LIMIT 1
    ) AS latest ON true
), closed AS (
    -- Not by its number: a version that was learnt late has a higher one.
    UPDATE {schema}.memories AS m
    SET valid_to = greatest(change.moment, m.valid_from + interval '1 microsecond'),
        superseded_by = CASE WHEN change.value IS NOT NULL THEN change.latest + 1 END
    FROM change
    WHERE m.owner = %(owner)s AND m.namespace = change.namespace AND m.key = change.key AND m.valid_to IS NULL
        AND (change.value IS NOT NULL OR coalesce(m.expires_at > change.moment, true))
    RETURNING
        m.namespace, m.key, m.version, m.superseded_by, m.valid_to AS at,
        CASE WHEN coalesce(m.expires_at > change.moment, true) THEN m.created_at END AS created_at
), saved AS (
    INSERT INTO {schema}.memories (
        owner, namespace, key, version, value, text, embedding, embedding_model, content_hash,
        lifetime, expires_at, valid_from, created_at
    )
    SELECT
        %(owner)s, change.namespace, change.key, change.latest + 1, change.value::json, change.text,
        change.embedding::{vector}.halfvec, change.embedding_model, change.content_hash,
        make_interval(secs => change.ttl), began.at + make_interval(secs => change.ttl), began.at,
        coalesce(closed.created_at, began.at)
    -- Reading from `closed` makes Postgres close the old versions first. None is closed twice.
    FROM change LEFT JOIN closed ON closed.namespace = change.namespace AND closed.key = change.key
        CROSS JOIN LATERAL (SELECT coalesce(closed.at, greatest(change.moment, change.valid_to)) AS at) AS began
    WHERE change.value IS NOT NULL
    RETURNING namespace, key, version
)
INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
SELECT %(owner)s, namespace, key, version, 'save' FROM saved
UNION ALL
SELECT %(owner)s, namespace, key, version, 'delete' FROM closed WHERE superseded_by IS NULL;

-- name: owners_of_expired
-- Some of those whose memories have expired; for the owner 'expired', who may read that of everybody.
SELECT DISTINCT owner
FROM (
    SELECT owner FROM {schema}.memories
    WHERE valid_to IS NULL AND expires_at <= now() AND owner NOT IN (SELECT owner FROM {schema}.holds)
    ORDER BY expires_at
    LIMIT %(limit)s
) AS expired;

-- name: sweep
-- Every version of some memories that have expired goes, for good. What somebody is writing just now is left alone.
WITH expired AS MATERIALIZED (
    SELECT namespace, key, version FROM {schema}.memories
    WHERE owner = %(owner)s AND valid_to IS NULL AND expires_at <= now() AND {not_on_hold}
    ORDER BY expires_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), erased AS (
    DELETE FROM {schema}.memories AS m USING expired
    WHERE m.owner = %(owner)s AND m.namespace = expired.namespace AND m.key = expired.key
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, namespace, key, version, 'erase' FROM expired
)
SELECT count(*) FROM expired;
