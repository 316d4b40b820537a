-- What LangGraph's store asks for beyond the memories themselves.

-- name: created
-- When each of some memories was first saved; one that was deleted in between began anew.
SELECT wanted.namespace, wanted.key, min(m.valid_from)
FROM jsonb_to_recordset(%(addresses)s::jsonb) AS wanted (namespace text[], key text)
JOIN {schema}.memories AS m
    ON m.owner = %(owner)s AND m.namespace = wanted.namespace AND m.key = wanted.key
WHERE m.version > coalesce((
    SELECT max(deleted.version) FROM {schema}.memories AS deleted
    WHERE deleted.owner = %(owner)s AND deleted.namespace = wanted.namespace AND deleted.key = wanted.key
        AND deleted.valid_to IS NOT NULL AND deleted.superseded_by IS NULL
), 0)
GROUP BY wanted.namespace, wanted.key;

-- name: namespaces
-- The namespaces in which something is, cut to a depth. Each pattern must fit their begin or their end; '*' fits
-- any label.
SELECT DISTINCT m.namespace[1:%(depth)s::integer] AS found
FROM {schema}.memories AS m
WHERE m.owner = %(owner)s AND m.valid_to IS NULL AND (m.expires_at IS NULL OR m.expires_at > now())
    AND m.namespace <> '{{}}'
    AND NOT EXISTS (
        SELECT
        FROM jsonb_to_recordset(%(patterns)s::jsonb) AS pattern (labels text[], at_end boolean)
        WHERE cardinality(m.namespace) < cardinality(pattern.labels) OR EXISTS (
            SELECT
            FROM generate_subscripts(pattern.labels, 1) AS place
            WHERE pattern.labels[place] <> '*' AND pattern.labels[place] <> m.namespace[
                place + CASE WHEN pattern.at_end THEN cardinality(m.namespace) - cardinality(pattern.labels) ELSE 0 END
            ]
        )
    )
ORDER BY found
LIMIT %(limit)s OFFSET %(offset)s;
