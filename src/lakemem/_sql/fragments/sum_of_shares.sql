-- What both arms say of a `row`, each scaled by `scales` to 0..1, times their weights.
(
    %(dense)s::float8 * coalesce(
        CASE WHEN row.similarity IS NOT NULL THEN coalesce((row.similarity - scales.lowest) / scales.width, 1) END, 0
    ) + %(lexical)s::float8 * coalesce(row.weight / scales.weight, 0)
)
