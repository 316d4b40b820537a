-- In the place of what is `near`: a key that somebody chose stands for one memory, whatever others say.
near AS NOT MATERIALIZED (
    SELECT
        NULL::text AS key, NULL::bigint AS version, NULL::timestamptz AS expires_at, NULL::float8 AS score,
        false AS is_twin
    WHERE false
)
