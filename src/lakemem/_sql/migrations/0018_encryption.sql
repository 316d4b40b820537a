-- The keys with which an app encrypts what it stores of each owner. Postgres has them wrapped by a master key that it
-- never sees.
CREATE TABLE {schema}.data_keys (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    key_id uuid NOT NULL,
    wrapped bytea NOT NULL,
    -- The master key that wrapped it.
    master_key text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    wrapped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Since when another one encrypts; what this one has encrypted is still to be read.
    retired_at timestamptz,
    PRIMARY KEY (owner, key_id)
);
-- Of those who write for an owner for the first time at the same moment, one makes the key.
CREATE UNIQUE INDEX data_keys_current ON {schema}.data_keys (owner) WHERE retired_at IS NULL;

ALTER TABLE {schema}.data_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.data_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.data_keys
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));
-- Those who own the tables work through the keys of everybody, and find whose rows there are; they act as each owner.
CREATE POLICY maintenance ON {schema}.data_keys FOR SELECT USING (
    (SELECT current_setting('lakemem.owner', true)) = 'maintenance' AND (SELECT {schema}.owns_tables())
);
CREATE POLICY maintenance ON {schema}.threads FOR SELECT USING (
    (SELECT current_setting('lakemem.owner', true)) = 'maintenance' AND (SELECT {schema}.owns_tables())
);

-- While somebody is on hold, what they have stays readable.
CREATE TRIGGER refuse_removal AFTER DELETE ON {schema}.data_keys REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_removal();

-- Lets an app write only what is encrypted with the current key of its owner: with one that was dropped, nobody could
-- read it. The caller has the lock that makes whoever replaces or drops a key wait.
CREATE FUNCTION {schema}.check_data_key(of_owner text, of_key uuid) RETURNS void
LANGUAGE plpgsql STABLE AS $function$
BEGIN
    IF NOT EXISTS (
        SELECT FROM {schema}.data_keys AS k
        WHERE k.owner = of_owner AND k.key_id = of_key AND k.retired_at IS NULL
    ) THEN
        RAISE EXCEPTION 'this is not the current key of its owner' USING ERRCODE = 'LM006';
    END IF;
END
$function$;

ALTER TABLE {schema}.memory_events DROP CONSTRAINT memory_events_action_check;
ALTER TABLE {schema}.memory_events ADD CONSTRAINT memory_events_action_check CHECK (action IN (
    'save', 'update', 'delete', 'erase', 'merge', 'supersede', 'revert', 'forget', 'consolidate', 'decay',
    'erase_all', 'hold', 'release', 'export', 'quarantine', 'let_through', 'reject', 'drop_keys', 'rotate_key'
));

-- Drops the keys of somebody: what they have encrypted can be read no more, wherever it is. It runs as the owner of the
-- tables, who alone can read back what the audit log says; row-level security confines it to the owner that the
-- transaction is set to.
CREATE FUNCTION {schema}.drop_data_keys(of_owner text, by_whom text, why text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    dropped bigint;
    receipt jsonb;
BEGIN
    PERFORM {schema}.check_login(of_owner);
    DELETE FROM {schema}.data_keys WHERE owner = of_owner;
    GET DIAGNOSTICS dropped = ROW_COUNT;
    INSERT INTO {schema}.memory_events (owner, action, actor, requested_by, reason, details)
    VALUES (of_owner, 'drop_keys', session_user, by_whom, why, jsonb_build_object('data_keys', dropped))
    RETURNING jsonb_build_object(
        'owner', owner, 'event_id', event_id, 'erased_at', at, 'actor', actor, 'requested_by', requested_by,
        'reason', reason, 'counts', details
    ) INTO receipt;
    RETURN receipt;
END
$function$;

-- Undoes a copy of encrypted rows of which one was not encrypted for its new place.
CREATE FUNCTION {schema}.check_resealed(is_complete boolean) RETURNS void
LANGUAGE plpgsql STABLE AS $function$
BEGIN
    IF NOT is_complete THEN
        RAISE EXCEPTION 'what was copied has changed meanwhile' USING ERRCODE = 'LM007';
    END IF;
END
$function$;
