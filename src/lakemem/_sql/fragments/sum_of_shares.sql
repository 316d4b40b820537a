-- What both arms say of a `row`, each scaled by `scales` to 0..1, times their weights.
(
    CASE WHEN row.similarity IS NULL THEN 0
        ELSE scales.share_of_any + row.similarity * coalesce(scales.per_similarity, 0)
    END + coalesce(row.weight * scales.per_weight, 0)
)
