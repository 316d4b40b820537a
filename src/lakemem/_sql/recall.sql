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
--
-- Which words a memory has is one number, a bit a word. So few of these numbers differ that what words weigh is told
-- by number, and a memory is gone through once for what all have in common, and once for its share.
WITH {asked}
SELECT
    {memory_columns}, asked.number, hit.score::float8,
    (-({vector_of_m} OPERATOR({vector}.<#>) asked.whole))::float8, hit.dense::float8, hit.lexical::float8, hit.terms,
    hit.dense_rank, hit.lexical_rank, hit.beside::float8, hit.of_thread::float8, hit.in_period, hit.labelled,
    hit.memories, hit.common, around.turns::text
FROM asked
CROSS JOIN LATERAL (
    WITH terms AS MATERIALIZED (
        SELECT
            lexeme, quote_literal(lexeme)::tsquery AS query,
            1::bigint << (row_number() OVER (ORDER BY length(lexeme) DESC, lexeme) - 1)::integer AS bit
        FROM unnest(tsvector_to_array(to_tsvector('pg_catalog.english', asked.query))) AS lexeme
        -- A question may be a page long. What is long is likely to be rare.
        ORDER BY length(lexeme) DESC, lexeme
        LIMIT 60
    ), first_terms AS MATERIALIZED (
        SELECT
            any_term, are_all, queries[1] AS q1, queries[2] AS q2, queries[3] AS q3, queries[4] AS q4,
            queries[5] AS q5, queries[6] AS q6, queries[7] AS q7, queries[8] AS q8
        FROM (
            SELECT
                string_agg(query::text, ' | ')::tsquery AS any_term, array_agg(query ORDER BY bit) AS queries,
                count(*) <= 8 AS are_all
            FROM terms
            WHERE %(lexical)s::float8 > 0
        ) AS gathered
    ), scope AS MATERIALIZED (
        SELECT
            {words_of_m} AS words,
            m.length, m.place, -({vector_of_m} OPERATOR({vector}.<#>) asked.dense) AS similarity,
            m.position, m.thread_id, m.owner
        FROM ({recall.rows}) AS m CROSS JOIN first_terms
    ), alike AS MATERIALIZED (
        SELECT
            words, count(*) AS memories, sum(length) AS total_length, min(length) AS length,
            min(similarity) AS lowest, max(similarity) AS highest
        FROM scope
        GROUP BY words
    ), bounds AS MATERIALIZED (
        SELECT
            memories, lowest, width,
            -- Of a text as long as the others the words count 1 / (1 + saturation), of a longer one less (BM25).
            1 + %(saturation)s::float8 * (1 - %(length_share)s::float8) AS penalty,
            coalesce(%(saturation)s::float8 * %(length_share)s::float8 / nullif(length, 0), 0) AS penalty_of_length
        FROM (
            SELECT
                sum(memories)::bigint AS memories, sum(total_length)::float8 / sum(memories)::float8 AS length,
                min(lowest) AS lowest, nullif(max(highest) - min(lowest), 0) AS width
            FROM alike
        ) AS all_memories
    ), rarity AS MATERIALIZED (
        SELECT
            t.lexeme, t.bit, sum(alike.memories) AS memories,
            ln(1 + (bounds.memories - sum(alike.memories) + 0.5)::float8 / (sum(alike.memories) + 0.5)::float8) AS weight
        FROM alike CROSS JOIN bounds JOIN terms AS t ON alike.words & t.bit <> 0
        GROUP BY t.lexeme, t.bit, bounds.memories
    ), weights AS MATERIALIZED (
        SELECT words, length, (SELECT sum(r.weight) FROM rarity AS r WHERE alike.words & r.bit <> 0) AS weight
        FROM alike
        WHERE words <> 0
    ), scales AS MATERIALIZED (
        -- Worked out before they are applied to every memory: what each arm's figures are multiplied by.
        SELECT
            highest_weight, %(dense)s::float8 / width AS per_similarity, %(lexical)s::float8 / highest_weight AS per_weight,
            -- Where all are as similar, all have the whole share.
            CASE WHEN width IS NULL THEN %(dense)s::float8 ELSE 0 END
                - coalesce(lowest * %(dense)s::float8 / width, 0) AS share_of_any
        FROM (
            -- Where not even a word of middling rarity is in any memory, the words have little to say, and no memory
            -- all.
            SELECT lowest, width, greatest(
                (SELECT max(row.weight / {length_penalty}) FROM weights AS row),
                0.5 * ln(1 + (memories - 0.5) / 1.5)::float8 / (1 + %(saturation)s::float8)
            ) AS highest_weight
            FROM bounds
        ) AS highest
    ), weighed AS NOT MATERIALIZED (
        SELECT row.*, weights.weight / {length_penalty} AS weight
        FROM scope AS row CROSS JOIN bounds LEFT JOIN weights USING (words)
    ), nearest AS MATERIALIZED (
        SELECT place, rank() OVER (ORDER BY similarity DESC) AS rank
        FROM (
            SELECT place, similarity FROM scope
            WHERE %(tells_ranks)s::boolean AND similarity IS NOT NULL
            ORDER BY similarity DESC, place LIMIT %(shortlist)s::bigint
        ) AS best
    ), best_worded AS MATERIALIZED (
        SELECT place, rank() OVER (ORDER BY weight DESC) AS rank
        FROM (
            SELECT place, weight FROM weighed
            WHERE %(tells_ranks)s::boolean AND weight IS NOT NULL
            ORDER BY weight DESC, place LIMIT %(shortlist)s::bigint
        ) AS best
    ), best_ranks AS MATERIALIZED (
        SELECT
            place, %(dense)s::float8 * coalesce(1 / (%(rrf)s::float8 + nearest.rank), 0)
                + %(lexical)s::float8 * coalesce(1 / (%(rrf)s::float8 + best_worded.rank), 0) AS base
        FROM nearest FULL JOIN best_worded USING (place)
        WHERE %(rrf)s::float8 IS NOT NULL
        ORDER BY base DESC, place LIMIT %(shortlist)s::bigint
    ), shortlist AS MATERIALIZED (
        SELECT row.*, nearest.rank AS dense_rank, best_worded.rank AS lexical_rank
        FROM (
            (
                SELECT row.*, {sum_of_shares} AS base
                FROM weighed AS row CROSS JOIN scales
                WHERE %(rrf)s::float8 IS NULL AND (similarity IS NOT NULL OR row.weight IS NOT NULL)
                ORDER BY base DESC, place LIMIT %(shortlist)s::bigint
            )
            UNION ALL
            SELECT row.*, best_ranks.base FROM weighed AS row JOIN best_ranks USING (place)
        ) AS row LEFT JOIN nearest USING (place) LEFT JOIN best_worded USING (place)
    ), places_beside AS MATERIALIZED (
        SELECT owner, thread_id, position + step AS position, max(base) AS base
        FROM shortlist CROSS JOIN (VALUES (-1), (1)) AS next (step)
        WHERE %(beside)s::float8 > 0 AND thread_id IS NOT NULL
        GROUP BY owner, thread_id, position + step
    ), turns_beside AS MATERIALIZED (
        SELECT row.*, beside.base AS beside
        FROM weighed AS row JOIN places_beside AS beside USING (owner, thread_id, position)
    ), threads AS MATERIALIZED (
        SELECT owner, thread_id, max(base) AS base FROM shortlist WHERE thread_id IS NOT NULL GROUP BY owner, thread_id
    ), pool AS MATERIALIZED (
        SELECT row.*, threads.base AS of_thread
        FROM (
            SELECT
                row.place, row.owner, row.thread_id, row.position, row.words, row.similarity, row.weight,
                row.dense_rank, row.lexical_rank, row.base, turns_beside.beside
            FROM shortlist AS row LEFT JOIN turns_beside USING (place)
            UNION ALL
            SELECT
                row.place, row.owner, row.thread_id, row.position, row.words, row.similarity, row.weight,
                NULL, NULL, CASE WHEN %(rrf)s::float8 IS NULL THEN {sum_of_shares} ELSE 0 END, row.beside
            FROM turns_beside AS row CROSS JOIN scales
            WHERE row.place NOT IN (SELECT place FROM shortlist)
                AND (row.similarity IS NOT NULL OR row.weight IS NOT NULL)
        ) AS row LEFT JOIN threads ON threads.owner = row.owner AND threads.thread_id = row.thread_id
    ), looked_up AS MATERIALIZED (
        SELECT
            pool.*, m.occurred_at, m.valid_from, m.labels, m.importance,
            -- Of all of them only where it is a condition; those that are found have theirs computed in the end.
            CASE WHEN %(min_similarity)s::float8 IS NOT NULL
                THEN -({vector_of_m} OPERATOR({vector}.<#>) asked.whole)
            END AS whole_similarity
        FROM pool CROSS JOIN LATERAL (SELECT * FROM {schema}.memories WHERE ctid = pool.place LIMIT 1) AS m
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
        ) AS signs
        -- Where one side has no vector, nothing is known of the similarity: then the words alone decide.
        WHERE %(min_similarity)s::float8 IS NULL OR coalesce(whole_similarity >= %(min_similarity)s::float8, true)
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
        best.*, bounds.memories, common.words AS common, best.weight / scales.highest_weight AS lexical,
        CASE WHEN best.similarity IS NOT NULL
            THEN coalesce((best.similarity - bounds.lowest) / bounds.width, 1)
        END AS dense,
        ARRAY(
            SELECT r.lexeme FROM rarity AS r WHERE best.words & r.bit <> 0 ORDER BY r.weight DESC, r.lexeme
        ) AS terms
    FROM best CROSS JOIN bounds CROSS JOIN scales CROSS JOIN common
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
    NULL::bigint, NULL::text[], around.turns::text
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
-- Of those in their order; on every row it would be a second distance. A row without a vector has none.
WHERE distance <= -coalesce(%(min_similarity)s::float8, '-infinity')
ORDER BY asked.number, distance, m.namespace, m.key;
