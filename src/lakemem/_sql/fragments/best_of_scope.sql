-- The best of a scope whose rows and figures are there: `scope`, `alike` (what rows of the same words have in common),
-- `bounds` and `rarity`.
weights AS MATERIALIZED (
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
    SELECT
        row.*, threads.base AS of_thread,
        -- Of all of them only where it is a condition; those that are found have theirs computed in the end.
        CASE WHEN %(min_similarity)s::float8 IS NOT NULL THEN (
            SELECT -({vector_of_m} OPERATOR({vector}.<#>) asked.whole)
            FROM {schema}.memories AS m WHERE m.ctid = row.place LIMIT 1
        ) END AS whole_similarity
    FROM (
        SELECT
            row.place, row.owner, row.thread_id, row.position, row.words, row.similarity, row.weight,
            row.occurred_at, row.valid_from, row.importance, row.labels,
            row.dense_rank, row.lexical_rank, row.base, turns_beside.beside
        FROM shortlist AS row LEFT JOIN turns_beside USING (place)
        UNION ALL
        SELECT
            row.place, row.owner, row.thread_id, row.position, row.words, row.similarity, row.weight,
            row.occurred_at, row.valid_from, row.importance, row.labels,
            NULL, NULL, CASE WHEN %(rrf)s::float8 IS NULL THEN {sum_of_shares} ELSE 0 END, row.beside
        FROM turns_beside AS row CROSS JOIN scales
        WHERE row.place NOT IN (SELECT place FROM shortlist)
            AND (row.similarity IS NOT NULL OR row.weight IS NOT NULL)
    ) AS row LEFT JOIN threads ON threads.owner = row.owner AND threads.thread_id = row.thread_id
), named AS MATERIALIZED (
    -- A label tells memories apart only where the question names one of them alone.
    SELECT array_agg(DISTINCT label) AS labels
    FROM pool CROSS JOIN unnest(labels) AS label
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
            pool.*, coalesce(cardinality(named.labels) = 1 AND pool.labels @> named.labels, false) AS labelled,
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
        FROM pool CROSS JOIN named
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
    best.*, bounds.memories, bounds.unindexed, common.words AS common, best.weight / scales.highest_weight AS lexical,
    CASE WHEN best.similarity IS NOT NULL
        THEN coalesce((best.similarity - bounds.lowest) / bounds.width, 1)
    END AS dense,
    ARRAY(
        SELECT r.lexeme FROM rarity AS r WHERE best.words & r.bit <> 0 ORDER BY r.weight DESC, r.lexeme
    ) AS terms
FROM best CROSS JOIN bounds CROSS JOIN scales CROSS JOIN common
