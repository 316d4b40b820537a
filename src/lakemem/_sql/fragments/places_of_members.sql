-- Where the memories of `members` stand.
SELECT m.place, m.owner, m.thread_id, m.position, m.expires_at
FROM members
CROSS JOIN LATERAL (
    SELECT key, version, namespace FROM {schema}.indexed_memories
    WHERE owner = members.owner AND number = members.number
    LIMIT 1
) AS named
CROSS JOIN LATERAL (
    SELECT ctid AS place, owner, thread_id, position, expires_at FROM {schema}.memories
    WHERE owner = members.owner AND key = named.key AND version = named.version AND namespace = named.namespace
        AND valid_to IS NULL
    LIMIT 1
) AS m
