-- The index of a large scope: made anew from time to time, beside all that goes on. Until the transaction that makes it
-- ends, the one before it serves.

-- name: queue
-- One job for a scope, however many searches have found it large.
INSERT INTO {schema}.jobs AS j (owner, job_id, kind)
VALUES (%(owner)s, 'index', 'index')
ON CONFLICT (owner, job_id) DO NOTHING;

-- name: begin
-- Nobody writes at this moment: what is stored before it is seen by whatever begins after it, though clocks may be set
-- back a little. How many memories a search goes through one by one.
SELECT
    clock_timestamp() - interval '5 seconds',
    (
        SELECT count(*) FROM {schema}.memories
        WHERE owner = %(owner)s AND valid_to IS NULL AND stored_at > '-infinity' AND stored_at > coalesce(
            (SELECT indexed_until FROM {schema}.indexes WHERE owner = %(owner)s AND model = %(model)s), '-infinity'
        )
    );

-- name: settings
SELECT set_config('jit', 'off', true), set_config('statement_timeout', '0', true), set_config('work_mem', '64MB', true);

-- name: clear
WITH cells AS (
    DELETE FROM {schema}.indexed_cells WHERE owner = %(owner)s
), members AS (
    DELETE FROM {schema}.indexed_memories WHERE owner = %(owner)s
), words AS (
    DELETE FROM {schema}.indexed_words WHERE owner = %(owner)s
)
DELETE FROM {schema}.indexes WHERE owner = %(owner)s;

-- name: scope
INSERT INTO {schema}.indexes (owner, model, indexed_until, memories, total_length)
SELECT %(owner)s, %(model)s, %(indexed_until)s::timestamptz, count(*), coalesce(sum(length), 0)
FROM {schema}.memories
WHERE owner = %(owner)s AND valid_to IS NULL;

-- name: cells
-- At first each is where a memory is that chance has chosen.
INSERT INTO {schema}.indexed_cells (owner, cell, centroid)
SELECT %(owner)s, row_number() OVER (), vector
FROM (
    SELECT {vector_of_m} AS vector
    FROM {schema}.memories AS m
    WHERE m.owner = %(owner)s AND m.valid_to IS NULL AND {vector_of_m} IS NOT NULL
    ORDER BY sha256(convert_to(m.key, 'UTF8'))
    LIMIT (
        SELECT least(%(max_cells)s::bigint, ceil(%(fineness)s::bigint * sqrt(memories)))::bigint
        FROM {schema}.indexes WHERE owner = %(owner)s
    )
) AS chosen;

-- name: refine
-- One step of k-means with cosines, on a sample.
UPDATE {schema}.indexed_cells AS c
SET centroid = middle.centroid
FROM (
    SELECT nearest.cell, {vector}.l2_normalize({vector}.avg(sample.vector)) AS centroid
    FROM (
        SELECT {vector_of_m} AS vector
        FROM {schema}.memories AS m
        WHERE m.owner = %(owner)s AND m.valid_to IS NULL AND {vector_of_m} IS NOT NULL
        ORDER BY sha256(convert_to(m.key, 'UTF8'))
        LIMIT (SELECT count(*) * %(sample)s::bigint FROM {schema}.indexed_cells WHERE owner = %(owner)s)
    ) AS sample
    CROSS JOIN LATERAL (
        SELECT cell FROM {schema}.indexed_cells
        WHERE owner = %(owner)s
        ORDER BY centroid OPERATOR({vector}.<#>) sample.vector, cell
        LIMIT 1
    ) AS nearest
    GROUP BY nearest.cell
) AS middle
WHERE c.owner = %(owner)s AND c.cell = middle.cell;

-- name: members
-- Numbered cell by cell; those without a vector of the model come last, and are found by their words.
WITH numbered AS MATERIALIZED (
    SELECT place, cell, row_number() OVER (ORDER BY cell, place) AS number
    FROM (
        SELECT m.ctid AS place, nearest.cell
        FROM {schema}.memories AS m
        LEFT JOIN LATERAL (
            SELECT cell FROM {schema}.indexed_cells
            WHERE owner = %(owner)s AND {vector_of_m} IS NOT NULL
            ORDER BY centroid OPERATOR({vector}.<#>) {vector_of_m}, cell
            LIMIT 1
        ) AS nearest ON true
        WHERE m.owner = %(owner)s AND m.valid_to IS NULL
    ) AS assigned
), stored AS (
    INSERT INTO {schema}.indexed_memories (owner, number, embedding, version, key, namespace)
    SELECT
        m.owner, numbered.number, {vector_of_m}, m.version, m.key, m.namespace
    FROM numbered CROSS JOIN LATERAL (SELECT * FROM {schema}.memories WHERE ctid = numbered.place LIMIT 1) AS m
    ORDER BY numbered.number
)
UPDATE {schema}.indexed_cells AS c
SET first = of_cell.first, last = of_cell.last
FROM (SELECT cell, min(number) AS first, max(number) AS last FROM numbered GROUP BY cell) AS of_cell
WHERE c.owner = %(owner)s AND c.cell = of_cell.cell;

-- name: words
INSERT INTO {schema}.indexed_words (owner, word, numbers)
SELECT %(owner)s, word, array_agg(i.number ORDER BY i.number)
FROM {schema}.indexed_memories AS i
JOIN {schema}.memories AS m USING (owner, key, version, namespace)
CROSS JOIN unnest(tsvector_to_array(m.tsv)) AS word
WHERE i.owner = %(owner)s
GROUP BY word;

-- name: purge
-- What was erased while the index was made, by somebody who did not see it. Nobody writes meanwhile.
WITH lost AS (
    DELETE FROM {schema}.indexed_memories AS i
    WHERE i.owner = %(owner)s AND NOT EXISTS (
        SELECT FROM {schema}.memories AS m
        WHERE m.owner = %(owner)s AND m.key = i.key AND m.version = i.version AND m.namespace = i.namespace
    )
    RETURNING i.number
), numbers AS MATERIALIZED (
    SELECT array_agg(number) AS all_lost FROM lost HAVING count(*) > 0
), shortened AS (
    UPDATE {schema}.indexed_words AS w
    SET numbers = ARRAY(SELECT number FROM unnest(w.numbers) AS number WHERE number <> ALL (all_lost))
    FROM numbers
    WHERE w.owner = %(owner)s AND w.numbers && all_lost AND NOT w.numbers <@ all_lost
), removed AS (
    DELETE FROM {schema}.indexed_words AS w USING numbers
    WHERE w.owner = %(owner)s AND w.numbers <@ all_lost
)
SELECT count(*) FROM lost;
