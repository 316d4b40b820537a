-- How similar the memories of a scope are, and what their lengths say: of `figures`.
bounds AS MATERIALIZED (
    SELECT
        memories, unindexed, lowest, nullif(highest - lowest, 0) AS width,
        -- Of a text as long as the others the words count 1 / (1 + saturation), of a longer one less (BM25).
        1 + %(saturation)s::float8 * (1 - %(length_share)s::float8) AS penalty,
        coalesce(%(saturation)s::float8 * %(length_share)s::float8 / nullif(length, 0), 0) AS penalty_of_length
    FROM figures
)
