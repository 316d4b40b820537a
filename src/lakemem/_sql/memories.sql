-- Long-term memory.
--
-- The versions of a memory never overlap: each is in effect from its valid_from until its valid_to. The current one has
-- no valid_to.

-- name: save
-- A new version: the one that is current is closed, and the audit log says so. The caller holds the lock on this key.
SELECT * FROM {schema}.save(
    {given}, similar_to => '{{}}', twin_key => NULL, twin_version => NULL
);

-- name: save_all
-- Several of these, of any owners: their parameters as JSON. It takes the locks by itself.
SELECT * FROM {schema}.save_all(%(saves)s::json);

-- name: save_unless_near
-- The same, unless another memory says so already.
WITH held AS MATERIALIZED (
    SELECT FROM {schema}.memories
    WHERE owner = %(owner)s AND key = %(key)s AND namespace = %(namespace)s::text[] AND CASE
        WHEN %(valid_from)s::timestamptz IS NULL THEN valid_to IS NULL
        ELSE valid_from <= %(valid_from)s AND (valid_to IS NULL OR valid_to > %(valid_from)s)
    END
), {near}, twin AS MATERIALIZED (
    SELECT key, version FROM near WHERE is_twin ORDER BY score DESC, key LIMIT 1
)
SELECT * FROM {schema}.save(
    {given}, similar_to => ARRAY(SELECT key FROM near ORDER BY score DESC, key LIMIT 3),
    twin_key => (SELECT key FROM twin), twin_version => (SELECT version FROM twin)
);

-- name: saved
-- What a save that was made before has left: the memory under the key, or else the one that it was merged into.
WITH held AS MATERIALIZED (
    SELECT version FROM {schema}.memories
    WHERE owner = %(owner)s AND key = %(key)s AND namespace = %(namespace)s::text[]
    ORDER BY valid_to DESC NULLS FIRST, version DESC
    LIMIT 1
), {near}
SELECT m.*
FROM (
    SELECT %(key)s::text AS key, version FROM held
    UNION ALL
    (SELECT key, version FROM near WHERE is_twin ORDER BY score DESC, key LIMIT 1)
) AS left_over
CROSS JOIN LATERAL (
    SELECT {memory_columns}, 'unchanged'
    FROM {schema}.memories AS m
    WHERE m.owner = %(owner)s AND m.key = left_over.key AND m.version = left_over.version
        AND m.namespace = %(namespace)s::text[]
    LIMIT 1
) AS m;

-- name: update
-- A new version that takes over what is not given. No row comes back where there is no current version. One that was
-- said by somebody to whom this write yields stays as it is, and comes back as it is.
WITH latest AS MATERIALIZED (
    SELECT version FROM {schema}.memories
    WHERE owner = %(owner)s AND key = %(key)s AND namespace = %(namespace)s::text[]
    ORDER BY version DESC
    LIMIT 1
), closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = greatest(clock_timestamp(), m.valid_from + interval '1 microsecond'),
        superseded_by = latest.version + 1
    FROM latest
    WHERE m.owner = %(owner)s AND m.key = %(key)s AND m.namespace = %(namespace)s::text[] AND m.valid_to IS NULL
        AND {alive} AND (%(expected_version)s::bigint IS NULL OR m.version = %(expected_version)s)
        AND m.trust <> ALL (%(yields_to)s::text[])
    RETURNING m.*
), saved AS (
    INSERT INTO {schema}.memories AS m (
        owner, namespace, key, version, kind, value, text, metadata, embedding, embedding_model,
        next_embedding, next_embedding_model, content_hash, importance, thread_id, position, occurred_at, sources,
        similar_to, expires_at, lifetime, valid_from, created_at, trust
    )
    SELECT
        old.owner, old.namespace, old.key, old.superseded_by, old.kind,
        coalesce(%(value)s::json, old.value), coalesce(%(text)s, old.text),
        coalesce(%(metadata)s::jsonb, old.metadata),
        CASE WHEN %(text)s::text IS NULL THEN old.embedding ELSE %(embedding)s::text::{vector}.halfvec END,
        CASE WHEN %(text)s::text IS NULL THEN old.embedding_model ELSE %(embedding_model)s END,
        CASE WHEN %(text)s::text IS NULL THEN old.next_embedding END,
        CASE WHEN %(text)s::text IS NULL THEN old.next_embedding_model END,
        coalesce(%(content_hash)s::bytea, old.content_hash),
        -- A new version is as important as was said, however much that has faded.
        greatest(old.importance, old.said_importance), old.thread_id, old.position, old.occurred_at, old.sources,
        -- Another text may be similar to none of them.
        CASE WHEN %(text)s::text IS NULL THEN old.similar_to ELSE '{{}}' END,
        coalesce(old.valid_to + make_interval(secs => %(expires_in)s::float8), old.expires_at),
        CASE WHEN %(expires_in)s::float8 IS NULL THEN old.lifetime END, old.valid_to, old.created_at,
        -- What is changed in part is as trusted as the least of its parts.
        CASE WHEN %(value)s::json IS NOT NULL OR old.trust = ANY (%(more_trusted)s::text[])
            THEN %(trust)s ELSE old.trust
        END
    FROM closed AS old
    RETURNING {memory_columns}
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT owner, namespace, key, version, 'update' FROM saved
)
SELECT saved.*, NULL FROM saved
UNION ALL
SELECT {memory_columns}, 'kept'
FROM {schema}.memories AS m
WHERE m.owner = %(owner)s AND m.key = %(key)s AND m.namespace = %(namespace)s::text[] AND m.valid_to IS NULL
    AND {alive} AND (%(expected_version)s::bigint IS NULL OR m.version = %(expected_version)s)
    AND m.trust = ANY (%(yields_to)s::text[]);

-- name: revert
-- A new version with the content of an old one, also where the memory was deleted since. No row comes back where there
-- is no such version.
WITH old AS MATERIALIZED (
    SELECT * FROM {schema}.memories
    WHERE owner = %(owner)s AND key = %(key)s AND version = %(version)s::bigint AND namespace = %(namespace)s::text[]
        AND {alive}
), latest AS MATERIALIZED (
    SELECT version, valid_to FROM {schema}.memories
    WHERE owner = %(owner)s AND key = %(key)s AND namespace = %(namespace)s::text[]
    ORDER BY version DESC
    LIMIT 1
), closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = greatest(clock_timestamp(), m.valid_from + interval '1 microsecond'),
        superseded_by = latest.version + 1
    FROM latest CROSS JOIN old
    WHERE m.owner = %(owner)s AND m.key = %(key)s AND m.namespace = %(namespace)s::text[] AND m.valid_to IS NULL
    RETURNING m.valid_to AS at, CASE WHEN m.expires_at IS NULL OR m.expires_at > m.valid_to THEN m.created_at END AS created_at
), saved AS (
    INSERT INTO {schema}.memories AS m (
        owner, namespace, key, version, kind, value, text, metadata, embedding, embedding_model,
        next_embedding, next_embedding_model, content_hash, importance, thread_id, position, occurred_at, sources,
        similar_to, expires_at, lifetime, valid_from, created_at, trust
    )
    SELECT
        old.owner, old.namespace, old.key, latest.version + 1, old.kind, old.value, old.text, old.metadata,
        old.embedding, old.embedding_model, old.next_embedding, old.next_embedding_model, old.content_hash,
        greatest(old.importance, old.said_importance), old.thread_id, old.position, old.occurred_at, old.sources,
        old.similar_to,
        old.expires_at, old.lifetime, moment.at, coalesce(before.created_at, moment.at), old.trust
    FROM (SELECT max(at) AS at, max(created_at) AS created_at FROM closed) AS before
        CROSS JOIN old CROSS JOIN latest
        CROSS JOIN LATERAL (SELECT coalesce(before.at, greatest(clock_timestamp(), latest.valid_to)) AS at) AS moment
    RETURNING {memory_columns}
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT owner, namespace, key, version, 'revert' FROM saved
)
SELECT * FROM saved;

-- name: get
SELECT {memory_columns}
FROM {schema}.memories AS m
WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s AND valid_to IS NULL
    AND (expires_at IS NULL OR expires_at > now());

-- name: get_then
SELECT {memory_columns}
FROM {schema}.memories AS m
WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s AND {in_effect_at};

-- name: items
SELECT {memory_columns}
FROM {schema}.memories AS m
WHERE owner = %(owner)s AND valid_to IS NULL AND (expires_at IS NULL OR expires_at > now())
    AND {listed}
ORDER BY valid_from DESC, namespace, key
LIMIT %(limit)s OFFSET %(offset)s;

-- name: items_then
SELECT {memory_columns}
FROM {schema}.memories AS m
WHERE owner = %(owner)s AND {in_effect_at}
    AND {listed}
ORDER BY valid_from DESC, namespace, key
LIMIT %(limit)s OFFSET %(offset)s;

-- name: history
SELECT {memory_columns}
FROM {schema}.memories AS m
WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s
    AND (expires_at IS NULL OR expires_at > now())
ORDER BY version DESC;

-- name: delete
-- The current version is closed; what was true before stays in the history until it is erased.
WITH closed AS (
    UPDATE {schema}.memories
    SET valid_to = greatest(clock_timestamp(), valid_from + interval '1 microsecond')
    WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s AND valid_to IS NULL
        AND (expires_at IS NULL OR expires_at > now())
    RETURNING version
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, %(namespace)s::text[], %(key)s, version, 'delete' FROM closed
)
SELECT version FROM closed;

-- name: erase
-- Every version goes, for good.
WITH erased AS (
    DELETE FROM {schema}.memories
    WHERE owner = %(owner)s AND namespace = %(namespace)s::text[] AND key = %(key)s
    RETURNING version
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, %(namespace)s::text[], %(key)s, max(version), 'erase' FROM erased HAVING count(*) > 0
)
SELECT max(version) FROM erased HAVING count(*) > 0;

-- name: forget
-- All that fits is closed at once. No lock is held on the keys: who saves takes the time after this is done.
WITH closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = greatest(clock_timestamp(), valid_from + interval '1 microsecond')
    WHERE owner = %(owner)s AND valid_to IS NULL AND {alive} AND {fitting}
    RETURNING namespace, key, version
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, namespace, key, version, 'forget' FROM closed
)
SELECT count(*) FROM closed;

-- name: forget_for_good
-- Every version goes of the memories whose last one fits, be it current or not.
WITH last AS MATERIALIZED (
    SELECT DISTINCT ON (key, namespace) key, namespace, version, metadata, thread_id, occurred_at, valid_from
    FROM {schema}.memories
    WHERE owner = %(owner)s AND (%(key)s::text IS NULL OR key = %(key)s)
    ORDER BY key, namespace, valid_from DESC, version DESC
), chosen AS MATERIALIZED (
    SELECT key, namespace, version FROM last WHERE {fitting}
), erased AS (
    DELETE FROM {schema}.memories AS m USING chosen
    WHERE m.owner = %(owner)s AND m.key = chosen.key AND m.namespace = chosen.namespace
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, namespace, key, version, 'erase' FROM chosen
)
SELECT count(*) FROM chosen;
