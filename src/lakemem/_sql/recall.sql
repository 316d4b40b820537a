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
    set_config('enable_nestloop', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true),
    set_config('lakemem.also_read', %(also_read)s::text[]::text, true);

-- name: rows
-- What a search is confined to: what was current then, of the owner and of the scopes that it also reads. The columns
-- are named, for each one that is read of every row takes its time.
SELECT
    m.ctid AS place, m.owner, m.thread_id, m.position, m.length, m.tsv, m.embedding_model, m.embedding,
    m.next_embedding_model, m.next_embedding
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
WITH {asked}
SELECT
    {memory_columns}, asked.number, hit.score::float8, hit.similarity::float8, hit.dense::float8, hit.lexical::float8, hit.terms,
    hit.dense_rank, hit.lexical_rank, hit.beside::float8, hit.of_thread::float8, hit.in_period, hit.labelled,
    hit.memories, hit.common, around.turns::text
FROM asked
CROSS JOIN LATERAL (
    WITH terms AS MATERIALIZED (
        SELECT lexeme, quote_literal(lexeme)::tsquery AS query
        FROM unnest(tsvector_to_array(to_tsvector('pg_catalog.english', asked.query))) AS lexeme
        -- A question may be a page long. What is long is likely to be rare.
        ORDER BY length(lexeme) DESC, lexeme
        LIMIT 64
    ), any_term AS MATERIALIZED (
        SELECT string_agg(query::text, ' | ')::tsquery AS query FROM terms
    ), scope AS MATERIALIZED (
        SELECT
            m.place, m.owner, m.thread_id, m.position, m.length,
            CASE WHEN %(lexical)s::float8 > 0 AND m.tsv @@ any_term.query THEN m.tsv END AS tsv,
            -({vector_of_m} OPERATOR({vector}.<#>) asked.dense) AS similarity
        FROM ({recall.rows}) AS m CROSS JOIN any_term
    ), bounds AS MATERIALIZED (
        SELECT
            count(*) AS memories, avg(length)::float8 AS length, min(similarity) AS lowest,
            nullif(max(similarity) - min(similarity), 0) AS width
        FROM scope
    ), rarity AS MATERIALIZED (
        SELECT
            t.lexeme, t.query, count(*) AS memories,
            ln(1 + (min(bounds.memories) - count(*) + 0.5)::float8 / (count(*) + 0.5)::float8) AS weight
        FROM scope AS s CROSS JOIN terms AS t CROSS JOIN bounds
        WHERE s.tsv IS NOT NULL AND s.tsv @@ t.query
        GROUP BY t.lexeme, t.query
    ), worded AS MATERIALIZED (
        SELECT
            s.place, s.owner, s.thread_id, s.position, s.similarity,
            (SELECT sum(r.weight) FROM rarity AS r WHERE s.tsv @@ r.query) / (1 + %(saturation)s::float8 * (
                1 - %(length_share)s::float8 + %(length_share)s::float8 * s.length / bounds.length
            )) AS weight
        FROM scope AS s CROSS JOIN bounds
        WHERE s.tsv IS NOT NULL
    ), scales AS MATERIALIZED (
        -- Where not even a word of middling rarity is in any memory, the words have little to say, and no memory all.
        SELECT
            lowest, width, greatest(
                (SELECT max(weight) FROM worded),
                0.5 * ln(1 + (memories - 0.5) / 1.5)::float8 / (1 + %(saturation)s::float8)
            ) AS weight
        FROM bounds
    ), nearest AS MATERIALIZED (
        SELECT *, rank() OVER (ORDER BY similarity DESC) AS rank
        FROM (
            SELECT place, owner, thread_id, position, similarity FROM scope
            WHERE similarity IS NOT NULL ORDER BY similarity DESC, place LIMIT %(shortlist)s::bigint
        ) AS best
    ), best_worded AS MATERIALIZED (
        SELECT *, rank() OVER (ORDER BY weight DESC) AS rank
        FROM (SELECT * FROM worded ORDER BY weight DESC, place LIMIT %(shortlist)s::bigint) AS best
    ), listed AS MATERIALIZED (
        SELECT place, owner, thread_id, position, similarity FROM nearest
        UNION
        SELECT place, owner, thread_id, position, similarity FROM best_worded
    ), shortlist AS MATERIALIZED (
        SELECT
            row.*, CASE WHEN %(rrf)s::float8 IS NULL THEN {sum_of_shares}
                ELSE %(dense)s::float8 * coalesce(1 / (%(rrf)s::float8 + dense_rank), 0)
                    + %(lexical)s::float8 * coalesce(1 / (%(rrf)s::float8 + lexical_rank), 0)
            END AS base
        FROM (
            SELECT listed.*, w.weight, n.rank AS dense_rank, b.rank AS lexical_rank
            FROM listed
                LEFT JOIN worded AS w USING (place)
                LEFT JOIN nearest AS n USING (place)
                LEFT JOIN best_worded AS b USING (place)
        ) AS row CROSS JOIN scales
        ORDER BY base DESC, place LIMIT %(shortlist)s::bigint
    ), places_beside AS MATERIALIZED (
        SELECT owner, thread_id, position + step AS position, max(base) AS base
        FROM shortlist CROSS JOIN (VALUES (-1), (1)) AS next (step)
        WHERE %(beside)s::float8 > 0 AND thread_id IS NOT NULL
        GROUP BY owner, thread_id, position + step
    ), turns_beside AS MATERIALIZED (
        SELECT s.place, s.owner, s.thread_id, s.position, s.similarity, w.weight, b.base AS beside
        FROM scope AS s JOIN places_beside AS b USING (owner, thread_id, position) LEFT JOIN worded AS w USING (place)
    ), threads AS MATERIALIZED (
        SELECT owner, thread_id, max(base) AS base FROM shortlist WHERE thread_id IS NOT NULL GROUP BY owner, thread_id
    ), pool AS MATERIALIZED (
        SELECT row.*, threads.base AS of_thread
        FROM (
            SELECT s.*, b.beside FROM shortlist AS s LEFT JOIN turns_beside AS b USING (place)
            UNION ALL
            SELECT
                row.place, row.owner, row.thread_id, row.position, row.similarity, row.weight, NULL, NULL,
                CASE WHEN %(rrf)s::float8 IS NULL THEN {sum_of_shares} ELSE 0 END, row.beside
            FROM turns_beside AS row CROSS JOIN scales
            WHERE row.place NOT IN (SELECT place FROM shortlist)
                AND (row.similarity IS NOT NULL OR row.weight IS NOT NULL)
        ) AS row LEFT JOIN threads ON threads.owner = row.owner AND threads.thread_id = row.thread_id
    ), looked_up AS MATERIALIZED (
        SELECT
            pool.place, pool.owner, pool.thread_id, pool.position, pool.dense_rank, pool.lexical_rank, pool.base,
            pool.beside, pool.of_thread, m.occurred_at, m.valid_from, m.labels, m.importance, m.tsv,
            CASE WHEN pool.similarity IS NOT NULL
                THEN coalesce((pool.similarity - scales.lowest) / scales.width, 1)
            END AS dense,
            pool.weight / scales.weight AS lexical,
            -({vector_of_m} OPERATOR({vector}.<#>) asked.whole) AS similarity
        FROM pool CROSS JOIN scales CROSS JOIN LATERAL (
            SELECT * FROM {schema}.memories WHERE ctid = pool.place LIMIT 1
        ) AS m
    ), named AS MATERIALIZED (
        -- A label tells memories apart only where the question names one of them alone.
        SELECT array_agg(DISTINCT label) AS labels
        FROM looked_up CROSS JOIN unnest(labels) AS label
        WHERE label = ANY (asked.names)
    ), best AS MATERIALIZED (
        SELECT
            *, (
                base + %(beside)s::float8 * coalesce(beside, 0) + %(thread)s::float8 * coalesce(of_thread, 0)
                + %(small)s::float8 * (
                    %(period)s::float8 * in_period::integer + %(label)s::float8 * labelled::integer
                    + %(importance)s::float8 * importance
                    + %(recency)s::float8 * 2 ^ (-greatest(age, 0) / %(half_life)s::float8)
                )
            ) / %(whole)s::float8 AS score
        FROM (
            SELECT
                looked_up.*, coalesce(cardinality(named.labels) = 1 AND looked_up.labels @> named.labels, false) AS labelled,
                extract(epoch FROM now() - coalesce(occurred_at, valid_from))::float8 AS age,
                EXISTS (
                    SELECT
                    FROM jsonb_to_recordset(asked.periods)
                        AS period (since timestamptz, until timestamptz, month integer, day integer)
                    WHERE coalesce(occurred_at >= period.since, occurred_at IS NOT NULL)
                        AND coalesce(occurred_at < period.until, occurred_at IS NOT NULL)
                        AND coalesce(extract(month FROM occurred_at AT TIME ZONE 'UTC') = period.month, true)
                        AND coalesce(extract(day FROM occurred_at AT TIME ZONE 'UTC') = period.day, true)
                ) AS in_period
            FROM looked_up CROSS JOIN named
        ) AS weighed
        -- Where one side has no vector, nothing is known of the similarity: then the words alone decide.
        WHERE %(min_similarity)s::float8 IS NULL OR coalesce(similarity >= %(min_similarity)s::float8, true)
        ORDER BY score DESC, place
        LIMIT %(limit)s::bigint
    ), common AS MATERIALIZED (
        -- The words of the question that stand in so many memories, or name so many, that they tell little apart.
        SELECT array_agg(word) AS words
        FROM unnest(asked.words) AS word CROSS JOIN bounds CROSS JOIN named
        WHERE lower(word) = ANY (named.labels) OR bounds.memories >= 20 AND EXISTS (
            SELECT FROM rarity AS r
            WHERE r.memories > 0.15 * bounds.memories
                AND r.lexeme = ANY (tsvector_to_array(to_tsvector('pg_catalog.english', word)))
        )
    )
    SELECT
        best.*, bounds.memories, common.words AS common,
        ARRAY(SELECT r.lexeme FROM rarity AS r WHERE best.tsv @@ r.query ORDER BY r.weight DESC, r.lexeme) AS terms
    FROM best CROSS JOIN bounds CROSS JOIN common
) AS hit
CROSS JOIN LATERAL (SELECT * FROM {schema}.memories WHERE ctid = hit.place LIMIT 1) AS m
LEFT JOIN LATERAL ({turns_around}) AS around ON true
ORDER BY asked.number, hit.score DESC, m.namespace, m.key;

-- name: nearest
-- For each question the memories that are nearest by their vectors alone, exactly.
WITH {asked}
SELECT
    {memory_columns}, asked.number, hit.similarity::float8, hit.similarity::float8, hit.similarity::float8,
    NULL::float8, NULL::text[], NULL::bigint, NULL::bigint, NULL::float8, NULL::float8, false, false,
    NULL::bigint, NULL::text[], around.turns::text
FROM asked
CROSS JOIN LATERAL (
    SELECT place, owner, thread_id, position, -distance AS similarity
    FROM (
        SELECT
            m.place, m.owner, m.thread_id, m.position,
            {vector_of_m} OPERATOR({vector}.<#>) asked.whole AS distance
        FROM ({recall.rows}) AS m
        ORDER BY distance
        LIMIT %(limit)s::bigint
    ) AS nearest
    -- Of those in their order; on every row it would be a second distance. A row without a vector has none.
    WHERE distance <= -coalesce(%(min_similarity)s::float8, '-infinity')
) AS hit
CROSS JOIN LATERAL (SELECT * FROM {schema}.memories WHERE ctid = hit.place LIMIT 1) AS m
LEFT JOIN LATERAL ({turns_around}) AS around ON true
ORDER BY asked.number, hit.similarity DESC, m.namespace, m.key;
