-- A change of the embedder. Pages of what is to be done are read as the owner 'maintenance', in the order of the
-- primary key; it is then done as each of the owners. A version that somebody is writing to is left for another pass:
-- what waits for no writer stops none.

-- name: counts
-- How many versions have their vectors of which models.
SELECT embedding_model, next_embedding_model, count(*)
FROM {schema}.memories
WHERE expires_at IS NULL OR expires_at > now()
GROUP BY embedding_model, next_embedding_model;

-- name: unfilled
-- What has no vector of a model, and room for one: that of another change is only replaced where this is asked for.
SELECT owner, key, version, namespace, text, sha256(convert_to(text, 'UTF8'))
FROM {schema}.memories
WHERE {after_place} AND (valid_to IS NULL) = %(current)s::boolean AND (expires_at IS NULL OR expires_at > now())
    AND embedding_model IS DISTINCT FROM %(model)s
    AND (next_embedding_model IS NULL OR (%(replace)s::boolean AND next_embedding_model <> %(model)s))
ORDER BY owner, key, version, namespace
LIMIT %(limit)s;

-- name: fill
-- A key that was erased may be in use again: only a version that says what was embedded is given the vector.
WITH given AS MATERIALIZED (
    SELECT given.namespace::text[] AS namespace, key, version, text_hash, embedding::{vector}.halfvec AS embedding
    FROM unnest(
        %(namespaces)s::text[], %(keys)s::text[], %(versions)s::bigint[], %(text_hashes)s::bytea[],
        %(embeddings)s::text[]
    ) AS given (namespace, key, version, text_hash, embedding)
), held AS MATERIALIZED (
    SELECT m.namespace, m.key, m.version, given.embedding
    FROM given JOIN {schema}.memories AS m
        ON m.owner = %(owner)s AND m.key = given.key AND m.version = given.version AND m.namespace = given.namespace
    WHERE m.embedding_model IS DISTINCT FROM %(model)s
        AND (m.next_embedding_model IS NULL OR (%(replace)s::boolean AND m.next_embedding_model <> %(model)s))
        AND sha256(convert_to(m.text, 'UTF8')) = given.text_hash
    FOR NO KEY UPDATE OF m SKIP LOCKED
), filled AS (
    UPDATE {schema}.memories AS m
    SET next_embedding = held.embedding, next_embedding_model = %(model)s,
        -- An index that was made before does not have it.
        stored_at = CASE
            WHEN EXISTS (SELECT FROM {schema}.indexes WHERE owner = %(owner)s AND model = %(model)s)
            THEN clock_timestamp() ELSE m.stored_at
        END
    FROM held
    WHERE m.owner = %(owner)s AND m.key = held.key AND m.version = held.version AND m.namespace = held.namespace
    RETURNING m.version
)
SELECT count(*) FROM filled;

-- name: unmoved
-- What a model has a next vector of, or a next vector beside its own.
SELECT owner, key, version, namespace
FROM {schema}.memories
WHERE {after_place} AND next_embedding_model IS NOT NULL AND %(model)s IN (embedding_model, next_embedding_model)
ORDER BY owner, key, version, namespace
LIMIT %(limit)s;

-- name: move
-- The next vector becomes the one there is; beside that of the model itself it is of no use.
WITH held AS MATERIALIZED (
    SELECT m.namespace, m.key, m.version
    FROM unnest(%(namespaces)s::text[], %(keys)s::text[], %(versions)s::bigint[]) AS given (namespace, key, version)
    JOIN {schema}.memories AS m
        ON m.owner = %(owner)s AND m.key = given.key AND m.version = given.version
        AND m.namespace = given.namespace::text[]
    WHERE m.next_embedding_model IS NOT NULL AND %(model)s IN (m.embedding_model, m.next_embedding_model)
    FOR NO KEY UPDATE OF m SKIP LOCKED
), moved AS (
    UPDATE {schema}.memories AS m
    SET embedding = CASE WHEN m.embedding_model = %(model)s THEN m.embedding ELSE m.next_embedding END,
        embedding_model = %(model)s, next_embedding = NULL, next_embedding_model = NULL
    FROM held
    WHERE m.owner = %(owner)s AND m.key = held.key AND m.version = held.version AND m.namespace = held.namespace
    RETURNING m.version
)
SELECT count(*) FROM moved;
