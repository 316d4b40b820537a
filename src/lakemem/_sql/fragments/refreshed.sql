-- A part of other statements: of what is found, that which has a time to live expires so long after now. What somebody
-- else is reading or writing just now is left to them: nobody waits, and no two wait for each other.
refreshed AS (
    UPDATE {schema}.memories AS m
    SET expires_at = now() + m.lifetime
    FROM (
        SELECT held.*
        FROM found CROSS JOIN LATERAL (
            SELECT held.namespace, held.key, held.version FROM {schema}.memories AS held
            WHERE held.owner = %(owner)s AND held.key = found.key AND held.version = found.version
                AND held.namespace = found.namespace AND held.valid_to IS NULL AND held.lifetime IS NOT NULL
            LIMIT 1
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS held
    ) AS held
    WHERE m.owner = %(owner)s AND m.namespace = held.namespace AND m.key = held.key AND m.version = held.version
)
