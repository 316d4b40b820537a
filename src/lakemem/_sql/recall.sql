-- What a question finds among memories.
--
-- No index serves the conditions of a search behind row-level security, for neither distances nor text search are
-- leakproof: the owner's btree leads the plan, and the scope is read whole. Every step is MATERIALIZED: inlined, one
-- may run once a row. A row's place (ctid) stands for it within the statement: it holds still for one snapshot, is
-- small, and finds the row again at once.

-- name: settings
-- Nothing is known of how large a scope is when the plan is made, so the plan is held to what is right for all: the
-- owner's index, and hash joins. Looking a row up by its place remains a nested loop, for there is no other way.
SELECT
    set_config('jit', 'off', true), set_config('work_mem', '64MB', true), set_config('enable_seqscan', 'off', true),
    set_config('enable_nestloop', 'off', true), set_config('enable_mergejoin', 'off', true),
    set_config('plan_cache_mode', 'force_generic_plan', true),
    set_config('lakemem.also_read', %(also_read)s::text[]::text, true);

-- name: rows
-- What a search is confined to: what was current then, of the owner and of the scopes that it also reads. The columns
-- are named, for each one that is read of every row takes its time.
SELECT
    m.ctid AS place, m.owner, m.thread_id, m.position, m.length, m.tsv, m.embedding_model, m.embedding,
    m.next_embedding_model, m.next_embedding, m.occurred_at, m.valid_from, m.importance, m.labels
FROM (
    SELECT {searched_columns} FROM {schema}.memories
    WHERE owner = %(owner)s AND valid_to IS NULL AND valid_from <= coalesce(%(as_of)s::timestamptz, 'infinity')
    UNION ALL
    SELECT {searched_columns} FROM {schema}.memories
    WHERE %(as_of)s::timestamptz IS NOT NULL AND owner = %(owner)s
        AND valid_from <= %(as_of)s::timestamptz AND valid_to > %(as_of)s::timestamptz
    UNION ALL
    SELECT {searched_columns} FROM {schema}.memories
    WHERE %(also_read)s::text[] <> '{{}}' AND owner = ANY (%(also_read)s::text[]) AND owner <> %(owner)s
        AND valid_from <= coalesce(%(as_of)s::timestamptz, 'infinity')
        AND (valid_to IS NULL OR valid_to > %(as_of)s::timestamptz)
) AS m
WHERE (m.expires_at IS NULL OR m.expires_at > now())
    AND (%(depth)s::integer = 0 OR m.namespace[1:%(depth)s::integer] = %(namespace)s::text[])
    AND (%(since)s::timestamptz IS NULL OR coalesce(m.occurred_at, m.valid_from) >= %(since)s::timestamptz)
    AND (%(until)s::timestamptz IS NULL OR coalesce(m.occurred_at, m.valid_from) < %(until)s::timestamptz)
    -- Looked up where it is asked for: to read the last columns of every row would take as long as the search itself.
    AND (NOT %(narrowed)s::boolean OR EXISTS (
        SELECT
        FROM {schema}.memories AS whole
        WHERE whole.ctid = m.ctid AND whole.metadata @> %(filter)s::jsonb
            AND whole.kind = coalesce(%(kind)s::text, whole.kind) AND whole.trust = ANY (%(trusts)s::text[]) AND {matches}
    ));

-- name: search
-- For each question the best memories. The dense arm is the distance of the vectors; the lexical arm the rarity of
-- those words of the question that stand in a memory, less where it is long (BM25, each word counted once). Each arm
-- is scaled to 0..1 within the scope. The best by their sum make the short list; with it go the turns beside them. On
-- these the small terms are added.
--
-- Which words a memory has is one number, a bit a word. So few of these numbers differ that what words weigh is told
-- by number, and a memory is gone through once for what all have in common, and once for its share.
WITH {asked}
SELECT {hit_columns}
FROM asked
CROSS JOIN LATERAL (
    WITH {terms_of_question}, scope AS MATERIALIZED (
        SELECT
            {words_of_m} AS words,
            m.length, m.place, -({vector_of_m} OPERATOR({vector}.<#>) asked.dense) AS similarity,
            m.position, m.thread_id, m.owner, m.occurred_at, m.valid_from,
            m.importance, m.labels
        FROM ({recall.rows}) AS m CROSS JOIN first_terms
    ), alike AS MATERIALIZED (
        SELECT
            words, count(*) AS memories, sum(length) AS total_length, min(length) AS length,
            min(similarity) AS lowest, max(similarity) AS highest
        FROM scope
        GROUP BY words
    ), figures AS NOT MATERIALIZED (
        SELECT
            sum(memories)::bigint AS memories, min(lowest) AS lowest, max(highest) AS highest,
            sum(total_length)::float8 / sum(memories)::float8 AS length,
            CASE WHEN EXISTS (SELECT FROM ({indexes}) AS index) THEN 0 ELSE sum(memories) END::bigint AS unindexed
        FROM alike
    ), {scope_bounds}, rarity AS MATERIALIZED (
        SELECT
            t.lexeme, t.bit, sum(alike.memories) AS memories,
            ln(1 + (bounds.memories - sum(alike.memories) + 0.5)::float8 / (sum(alike.memories) + 0.5)::float8) AS weight
        FROM alike CROSS JOIN bounds JOIN terms AS t ON alike.words & t.bit <> 0
        GROUP BY t.lexeme, t.bit, bounds.memories
    ), {best_of_scope}
) AS hit
CROSS JOIN LATERAL (SELECT * FROM {schema}.memories WHERE ctid = hit.place LIMIT 1) AS m
LEFT JOIN LATERAL ({turns_around}) AS around ON true
ORDER BY asked.number, hit.score DESC, m.namespace, m.key;

-- name: nearest
-- For each question the memories that are nearest by their vectors alone, exactly.
WITH {asked}
SELECT
    {memory_columns}, asked.number, -nearest.distance::float8, -nearest.distance::float8, -nearest.distance::float8,
    NULL::float8, NULL::text[], NULL::bigint, NULL::bigint, NULL::float8, NULL::float8, false, false,
    size.memories, CASE WHEN EXISTS (SELECT FROM ({indexes}) AS index) THEN 0 ELSE size.memories END, NULL::text[],
    around.turns::text
FROM asked
CROSS JOIN LATERAL (
    -- What is sorted is copied, a row at a time: no more than is needed to find it again.
    SELECT m.place, {vector_of_m} OPERATOR({vector}.<#>) asked.whole AS distance
    FROM ({recall.rows}) AS m
    ORDER BY distance
    LIMIT %(limit)s::bigint
) AS nearest
CROSS JOIN LATERAL (SELECT * FROM {schema}.memories WHERE ctid = nearest.place LIMIT 1) AS m
CROSS JOIN LATERAL (SELECT m.owner, m.thread_id, m.position) AS hit
LEFT JOIN LATERAL ({turns_around}) AS around ON true
CROSS JOIN (
    -- Whether they are many.
    SELECT count(*) AS memories
    FROM (
        SELECT FROM {schema}.memories WHERE owner = %(owner)s AND valid_to IS NULL LIMIT %(large)s::bigint
    ) AS counted
) AS size
-- Of those in their order; on every row it would be a second distance. A row without a vector has none.
WHERE distance <= -coalesce(%(min_similarity)s::float8, '-infinity')
ORDER BY asked.number, distance, m.namespace, m.key;
