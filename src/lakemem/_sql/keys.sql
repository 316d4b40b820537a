-- The data keys of owners, wrapped.

-- name: of_owner
SELECT key_id, wrapped, master_key, retired_at IS NULL FROM {schema}.data_keys WHERE owner = %(owner)s;

-- name: make
-- Unless somebody else was faster.
INSERT INTO {schema}.data_keys (owner, key_id, wrapped, master_key)
VALUES (%(owner)s, %(key_id)s, %(wrapped)s, %(master_key)s)
ON CONFLICT (owner) WHERE retired_at IS NULL DO NOTHING;

-- name: check
SELECT {schema}.check_data_key(%(owner)s, %(key_id)s);

-- name: drop
SELECT {schema}.drop_data_keys(%(owner)s, %(requested_by)s, %(reason)s)::text;

-- name: rotate
-- Another key from now on. The caller writes as the owner alone: whoever comes later finds the new one.
WITH retired AS (
    UPDATE {schema}.data_keys SET retired_at = clock_timestamp()
    WHERE owner = %(owner)s AND key_id = %(old_key_id)s AND retired_at IS NULL
    RETURNING owner
), made AS (
    INSERT INTO {schema}.data_keys (owner, key_id, wrapped, master_key)
    SELECT owner, %(key_id)s, %(wrapped)s, %(master_key)s
    -- Counting makes Postgres retire the old one first.
    FROM (SELECT max(owner) AS owner, count(*) AS count FROM retired) AS done
    WHERE count > 0
    RETURNING owner
), event AS (
    INSERT INTO {schema}.memory_events (owner, action) SELECT owner, 'rotate_key' FROM made
)
SELECT count(*) FROM made;

-- name: rewrap
UPDATE {schema}.data_keys
SET wrapped = %(wrapped)s, master_key = %(master_key)s, wrapped_at = clock_timestamp()
WHERE owner = %(owner)s AND key_id = %(key_id)s AND wrapped = %(old_wrapped)s
RETURNING key_id;

-- name: forget_retired
-- Nothing is encrypted with them any more. Those of somebody on hold stay: what was kept for the hold may be.
WITH removed AS (
    DELETE FROM {schema}.data_keys
    WHERE owner = %(owner)s AND key_id = ANY (%(key_ids)s::uuid[]) AND retired_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM {schema}.holds WHERE owner = %(owner)s)
    RETURNING key_id
)
SELECT count(*) FROM removed;

-- name: wrapped_by_others
-- Some keys that another master key than the current one has wrapped, behind a place; for the owner 'maintenance'.
SELECT owner, key_id, wrapped, master_key
FROM {schema}.data_keys
WHERE master_key <> %(master_key)s AND (owner, key_id) > (%(after_owner)s, %(after_key_id)s::uuid)
ORDER BY owner, key_id
LIMIT %(limit)s;

-- name: counts
-- How many keys each master key has wrapped; for the owner 'maintenance'.
SELECT master_key, count(*), count(*) FILTER (WHERE retired_at IS NOT NULL)
FROM {schema}.data_keys
GROUP BY master_key
ORDER BY master_key;

-- name: owners
-- Some owners who have something that can be encrypted, behind one; for the owner 'maintenance'.
SELECT owner FROM (
    (SELECT DISTINCT owner FROM {schema}.threads WHERE owner > %(after)s ORDER BY owner LIMIT %(limit)s)
    UNION
    (SELECT DISTINCT owner FROM {schema}.memories WHERE owner > %(after)s ORDER BY owner LIMIT %(limit)s)
    UNION
    (SELECT DISTINCT owner FROM {schema}.quarantine WHERE owner > %(after)s ORDER BY owner LIMIT %(limit)s)
    UNION
    (SELECT DISTINCT owner FROM {schema}.data_keys WHERE owner > %(after)s ORDER BY owner LIMIT %(limit)s)
) AS found
ORDER BY owner
LIMIT %(limit)s;
