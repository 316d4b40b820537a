-- The turns that stand around a `hit` in its thread, as one JSON array in their order.
SELECT json_agg(json_build_array({memory_columns}) ORDER BY m.position) AS turns
FROM {schema}.memories AS m
WHERE %(neighbors)s::bigint > 0 AND m.owner = hit.owner AND m.thread_id = hit.thread_id
    AND m.position BETWEEN hit.position - %(neighbors)s::bigint AND hit.position + %(neighbors)s::bigint
    AND m.position <> hit.position AND m.valid_from <= coalesce(%(as_of)s::timestamptz, 'infinity')
    AND (m.valid_to IS NULL OR m.valid_to > %(as_of)s::timestamptz)
    AND (m.expires_at IS NULL OR m.expires_at > now())
    AND m.trust = ANY (%(trusts)s::text[])
