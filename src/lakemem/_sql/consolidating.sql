-- Fewer memories that say as much: twins are merged, importance falls with age, and what is beyond a cap is closed.
--
-- What is changed is held first, so that it is still as it was found; what somebody is writing to is left for another
-- time. Importance and sources are changed in place, as a save does that finds a twin: a memory that is forgotten at
-- the same moment has no new version that would outlive it.

-- name: next_owner
-- The next one who has memories; for the owner 'maintenance'.
SELECT owner FROM {schema}.memories WHERE owner > %(after_owner)s AND valid_to IS NULL ORDER BY owner LIMIT 1;

-- name: twins
-- Facts that say the same as an older one, by the rule of a save. Only keys that were made of the content are looked
-- at: one that somebody chose stands for one memory, whatever others say.
WITH facts AS MATERIALIZED (
    SELECT
        m.namespace, m.key, m.version, m.valid_from, m.occurred_at, m.metadata, m.content_hash,
        m.trust, m.value::text = to_json(m.text)::text AS text_says_all, phrase.words,
        coalesce(phrase.stems, phrase.words) AS stems
    FROM {schema}.memories AS m {phrase}
    WHERE m.owner = %(owner)s AND m.valid_to IS NULL AND {alive} AND m.kind = 'fact'
        AND {keyed_by_content}
), alike AS MATERIALIZED (
    SELECT
        kept.namespace, kept.key, kept.version, twin.key AS twin_key, twin.version AS twin_version, kept.valid_from,
        kept.words = twin.words AS same_words
    FROM facts AS kept JOIN facts AS twin
        ON twin.namespace = kept.namespace AND twin.stems = kept.stems AND twin.trust = kept.trust
        AND (twin.valid_from, twin.key) > (kept.valid_from, kept.key)
    -- The one that goes must not say anything beside its text.
    WHERE kept.metadata @> twin.metadata AND (twin.text_says_all OR twin.content_hash = kept.content_hash)
        AND (twin.occurred_at IS NULL OR coalesce(twin.occurred_at = kept.occurred_at, false))
), twins AS MATERIALIZED (
    SELECT alike.*
    FROM alike
        JOIN {schema}.memories AS k ON k.owner = %(owner)s AND k.key = alike.key AND k.version = alike.version
            AND k.namespace = alike.namespace
        JOIN {schema}.memories AS t ON t.owner = %(owner)s AND t.key = alike.twin_key
            AND t.version = alike.twin_version AND t.namespace = alike.namespace
    WHERE alike.same_words OR coalesce(
        CASE
            WHEN k.embedding_model = t.embedding_model
                THEN -(k.embedding OPERATOR({vector}.<#>) t.embedding)
            WHEN k.next_embedding_model = t.next_embedding_model
                THEN -(k.next_embedding OPERATOR({vector}.<#>) t.next_embedding)
        END >= %(merge)s::float8, false
    )
)
-- Into one that stays itself: what is only like a twin stays, for that goes.
SELECT DISTINCT ON (namespace, twin_key) namespace, key, version, twin_key, twin_version
FROM twins
WHERE NOT EXISTS (SELECT FROM twins AS other WHERE other.namespace = twins.namespace AND other.twin_key = twins.key)
ORDER BY namespace, twin_key, valid_from, key
LIMIT %(limit)s;

-- name: newest
-- The facts for which candidates are looked for.
SELECT m.namespace, m.key
FROM {schema}.memories AS m
WHERE m.owner = %(owner)s AND m.valid_to IS NULL AND {alive} AND m.kind = 'fact' AND {keyed_by_content}
    AND (%(since)s::timestamptz IS NULL OR m.valid_from >= %(since)s)
ORDER BY m.valid_from DESC, m.key DESC, m.namespace
LIMIT %(limit)s;

-- name: candidates
-- Each of the given facts with older ones that a matcher is asked about: as for twins, one must be able to stand for the
-- other. Texts are read of the few that are left.
WITH facts AS MATERIALIZED (
    SELECT
        m.namespace, m.key, m.version, m.valid_from, m.occurred_at, m.metadata, m.content_hash, m.trust,
        m.value::text = to_json(m.text)::text AS text_says_all, m.embedding, m.embedding_model, m.next_embedding,
        m.next_embedding_model
    FROM {schema}.memories AS m
    WHERE m.owner = %(owner)s AND m.valid_to IS NULL AND {alive} AND m.kind = 'fact' AND {keyed_by_content}
        AND length(m.text) <= %(max_characters)s::int
), given AS MATERIALIZED (
    SELECT facts.*
    FROM unnest(%(namespaces)s::text[], %(keys)s::text[]) AS given (namespace, key)
        JOIN facts ON facts.namespace = given.namespace::text[] AND facts.key = given.key
), alike AS MATERIALIZED (
    SELECT
        kept.namespace, kept.key, kept.version, twin.key AS twin_key, twin.version AS twin_version, kept.valid_from,
        twin.valid_from AS twin_valid_from
    FROM given AS twin JOIN facts AS kept
        ON kept.namespace = twin.namespace AND kept.trust = twin.trust
        AND (twin.valid_from, twin.key) > (kept.valid_from, kept.key)
    -- The one that goes must not say anything beside its text.
    WHERE kept.metadata @> twin.metadata AND (twin.text_says_all OR twin.content_hash = kept.content_hash)
        AND (twin.occurred_at IS NULL OR coalesce(twin.occurred_at = kept.occurred_at, false))
        AND coalesce(
            CASE
                WHEN kept.embedding_model = twin.embedding_model
                    THEN -(kept.embedding OPERATOR({vector}.<#>) twin.embedding)
                WHEN kept.next_embedding_model = twin.next_embedding_model
                    THEN -(kept.next_embedding OPERATOR({vector}.<#>) twin.next_embedding)
            END >= %(similarity)s::float8, false
        )
    -- The newest of those that could go, and of those that could stay.
    ORDER BY twin.valid_from DESC, twin.key DESC, kept.valid_from DESC, kept.key DESC
    LIMIT %(limit)s
)
SELECT
    alike.namespace, alike.key, alike.version, alike.twin_key, alike.twin_version, k.text, k.occurred_at, t.text,
    t.occurred_at
FROM alike
    JOIN {schema}.memories AS k ON k.owner = %(owner)s AND k.key = alike.key AND k.version = alike.version
        AND k.namespace = alike.namespace
    JOIN {schema}.memories AS t ON t.owner = %(owner)s AND t.key = alike.twin_key
        AND t.version = alike.twin_version AND t.namespace = alike.namespace
ORDER BY alike.twin_valid_from DESC, alike.twin_key DESC, alike.valid_from DESC, alike.key DESC;

-- name: merge
-- Where both are still as they were found, the twin is closed; what is kept lasts as long, and is as important.
WITH given AS MATERIALIZED (
    SELECT namespace::text[] AS namespace, key, version, twin_key, twin_version
    FROM unnest(
        %(namespaces)s::text[], %(keys)s::text[], %(versions)s::bigint[], %(twin_keys)s::text[],
        %(twin_versions)s::bigint[]
    ) AS given (namespace, key, version, twin_key, twin_version)
), held AS MATERIALIZED (
    SELECT m.namespace, m.key, m.version, m.importance, m.expires_at, m.sources
    FROM (
        SELECT namespace, key, version FROM given UNION SELECT namespace, twin_key, twin_version FROM given
    ) AS wanted
    JOIN {schema}.memories AS m ON m.owner = %(owner)s AND m.key = wanted.key AND m.version = wanted.version
        AND m.namespace = wanted.namespace
    WHERE m.valid_to IS NULL AND {alive}
    FOR NO KEY UPDATE OF m SKIP LOCKED
), pair AS MATERIALIZED (
    SELECT given.*, twin.importance, twin.expires_at, twin.sources
    FROM given
        JOIN held AS kept ON kept.namespace = given.namespace AND kept.key = given.key
            AND kept.version = given.version
        JOIN held AS twin ON twin.namespace = given.namespace AND twin.key = given.twin_key
            AND twin.version = given.twin_version
), closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = greatest(clock_timestamp(), m.valid_from + interval '1 microsecond')
    FROM pair
    WHERE m.owner = %(owner)s AND m.key = pair.twin_key AND m.version = pair.twin_version
        AND m.namespace = pair.namespace
), renewed AS (
    UPDATE {schema}.memories AS m
    SET importance = greatest(m.importance, said.importance),
        expires_at = CASE WHEN m.expires_at IS NOT NULL AND said.ends
            THEN greatest(m.expires_at, said.expires_at)
        END,
        lifetime = CASE WHEN said.ends AND said.expires_at <= m.expires_at THEN m.lifetime END,
        sources = m.sources || ARRAY(
            (
                SELECT unnest(twin.sources) FROM pair AS twin
                WHERE twin.namespace = m.namespace AND twin.key = m.key
                UNION
                SELECT twin.twin_key FROM pair AS twin WHERE twin.namespace = m.namespace AND twin.key = m.key
            )
            EXCEPT SELECT unnest(m.sources)
            ORDER BY 1
        )
    FROM (
        SELECT
            namespace, key, version, max(importance) AS importance, max(expires_at) AS expires_at,
            bool_and(expires_at IS NOT NULL) AS ends
        FROM pair
        GROUP BY namespace, key, version
    ) AS said
    WHERE m.owner = %(owner)s AND m.key = said.key AND m.version = said.version AND m.namespace = said.namespace
    RETURNING m.namespace, m.key, m.version
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, namespace, twin_key, twin_version, 'consolidate' FROM pair
    UNION ALL
    SELECT %(owner)s, namespace, key, version, 'merge' FROM renewed
)
SELECT count(*) FROM pair;

-- name: decay
-- Halves the importance with every half-life: of what was never changed, since it happened, and of all else, since the
-- version was saved. What was said of it is kept, so that to do this again changes nothing.
WITH aged AS MATERIALIZED (
    SELECT m.namespace, m.key, m.version, said.importance AS said, faded.importance
    FROM {schema}.memories AS m
    CROSS JOIN LATERAL (SELECT greatest(m.importance, m.said_importance) AS importance) AS said
    CROSS JOIN LATERAL (
        SELECT round((said.importance * 0.5 ^ least(
            greatest(extract(epoch FROM clock_timestamp() - CASE
                WHEN m.version = 1 AND m.occurred_at < m.valid_from THEN m.occurred_at ELSE m.valid_from
            END)::float8, 0) / %(half_life)s::float8, 1000
        ))::numeric, 6)::real AS importance
    ) AS faded
    WHERE m.owner = %(owner)s AND m.valid_to IS NULL AND {alive}
        AND abs(m.importance - faded.importance) >= %(least_change)s::float8
    ORDER BY m.key, m.version, m.namespace
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF m SKIP LOCKED
), decayed AS (
    UPDATE {schema}.memories AS m
    SET importance = aged.importance, said_importance = aged.said
    FROM aged
    WHERE NOT %(dry_run)s::boolean
        AND m.owner = %(owner)s AND m.key = aged.key AND m.version = aged.version AND m.namespace = aged.namespace
    RETURNING m.namespace, m.key, m.version
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, namespace, key, version, 'decay' FROM decayed
)
SELECT count(*) FROM aged;

-- name: beyond_cap
-- How many memories of a kind there are beyond a cap.
SELECT greatest(count(*) - %(cap)s::bigint, 0)
FROM {schema}.memories AS m
WHERE m.owner = %(owner)s AND m.valid_to IS NULL AND {alive} AND m.kind = %(kind)s;

-- name: close_beyond_cap
-- The least important of a kind, and among those the oldest, are not current any more.
WITH {beyond_cap}, closed AS (
    UPDATE {schema}.memories AS m
    SET valid_to = greatest(clock_timestamp(), m.valid_from + interval '1 microsecond')
    FROM held
    WHERE m.owner = %(owner)s AND m.key = held.key AND m.version = held.version AND m.namespace = held.namespace
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, namespace, key, version, 'consolidate' FROM held
)
SELECT count(*) FROM held;

-- name: erase_beyond_cap
-- The same, and every version of them goes, for good; unless their owner is on hold.
WITH {beyond_cap}, doomed AS MATERIALIZED (
    SELECT * FROM held WHERE {not_on_hold}
), erased AS (
    DELETE FROM {schema}.memories AS m USING doomed
    WHERE m.owner = %(owner)s AND m.key = doomed.key AND m.namespace = doomed.namespace
), event AS (
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    SELECT %(owner)s, namespace, key, version, 'erase' FROM doomed
)
SELECT count(*) FROM doomed;
