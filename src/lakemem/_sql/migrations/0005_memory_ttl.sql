-- When a memory was first saved, and how long it lives on after each reading.
-- created_at passes from version to version, until the memory is deleted or has expired.

ALTER TABLE {schema}.memories
    ADD COLUMN created_at timestamptz,
    ADD COLUMN lifetime interval CHECK (lifetime > interval '0');

-- Row-level security that is forced would hide every row from this statement.
ALTER TABLE {schema}.memories NO FORCE ROW LEVEL SECURITY;
UPDATE {schema}.memories AS m
SET created_at = (
    SELECT min(earlier.valid_from) FROM {schema}.memories AS earlier
    WHERE earlier.owner = m.owner AND earlier.namespace = m.namespace AND earlier.key = m.key
        AND earlier.version <= m.version AND earlier.version > coalesce((
            SELECT max(deleted.version) FROM {schema}.memories AS deleted
            WHERE deleted.owner = m.owner AND deleted.namespace = m.namespace AND deleted.key = m.key
                AND deleted.version < m.version
                AND deleted.valid_to IS NOT NULL AND deleted.superseded_by IS NULL
        ), 0)
);
ALTER TABLE {schema}.memories FORCE ROW LEVEL SECURITY;
ALTER TABLE {schema}.memories
    ALTER COLUMN created_at SET DEFAULT clock_timestamp(),
    ALTER COLUMN created_at SET NOT NULL;

-- Behind row-level security an index serves only comparisons that cannot leak, and those of arrays are none of them.
-- So the namespace comes last: a key is found at once, however much its owner remembers.
ALTER TABLE {schema}.memories
    DROP CONSTRAINT memories_pkey,
    ADD PRIMARY KEY (owner, key, version, namespace);
DROP INDEX {schema}.memories_current;
CREATE UNIQUE INDEX memories_current ON {schema}.memories (owner, key, namespace) WHERE valid_to IS NULL;

-- A sweep finds by these whose memories have expired: as the owner 'expired', which nobody is, it may read what has
-- expired of everybody, and then it deletes that as each of their owners. The condition is one that no index can
-- serve, so that no other statement's plan strays to that index.
CREATE INDEX memories_expiring ON {schema}.memories (expires_at, owner)
    WHERE valid_to IS NULL AND expires_at IS NOT NULL;
CREATE POLICY expired ON {schema}.memories FOR SELECT USING (
    (SELECT current_setting('lakemem.owner', true)) = 'expired' AND coalesce(expires_at <= now(), false)
);
