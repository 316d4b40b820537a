-- Who said what a memory says; and writes that a policy holds back.

-- Last in the row, and with a default that no row holds: a search reads neither.
ALTER TABLE {schema}.memories ADD COLUMN trust text COLLATE "C" NOT NULL DEFAULT 'unknown'
    CHECK (trust IN ('user', 'model', 'tool', 'unknown'));

-- What is here is no memory: nothing that reads memories reads it.
CREATE TABLE {schema}.quarantine (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    -- Made of what is held back: the same write is held once.
    quarantine_id text COLLATE "C" NOT NULL,
    -- What is to be done with it: a memory saved, or changed, or a turn of a conversation stored.
    action text COLLATE "C" NOT NULL CHECK (action IN ('save', 'update', 'remember')),
    reason text NOT NULL,
    trust text COLLATE "C" NOT NULL CHECK (trust IN ('user', 'model', 'tool', 'unknown')),
    namespace text[] COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    draft json NOT NULL,
    held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (owner, quarantine_id)
);

ALTER TABLE {schema}.quarantine ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.quarantine FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.quarantine
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));
-- A sweep may see whose time is over, and those who own the tables what is held back; both act as each owner.
CREATE POLICY sweep ON {schema}.quarantine FOR SELECT USING (
    (SELECT current_setting('lakemem.owner', true)) = 'sweep' AND expires_at <= now()
);
CREATE POLICY maintenance ON {schema}.quarantine FOR SELECT USING (
    (SELECT current_setting('lakemem.owner', true)) = 'maintenance' AND (SELECT {schema}.owns_tables())
);

-- What is released or rejected while its owner is on hold is kept beside.
CREATE TRIGGER keep_held_rows AFTER DELETE ON {schema}.quarantine REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.keep_held_rows();

ALTER TABLE {schema}.memory_events DROP CONSTRAINT memory_events_action_check;
ALTER TABLE {schema}.memory_events ADD CONSTRAINT memory_events_action_check CHECK (action IN (
    'save', 'update', 'delete', 'erase', 'merge', 'supersede', 'revert', 'forget', 'consolidate', 'decay',
    'erase_all', 'hold', 'release', 'export', 'quarantine', 'let_through', 'reject'
));

-- Takes a write out of quarantine in the transaction that makes it: where somebody else was faster, it is not made.
CREATE FUNCTION {schema}.leave_quarantine(of_owner text, of_id text) RETURNS boolean
LANGUAGE plpgsql AS $function$
BEGIN
    WITH gone AS (
        DELETE FROM {schema}.quarantine WHERE owner = of_owner AND quarantine_id = of_id AND expires_at > now()
        RETURNING namespace, key, reason
    )
    INSERT INTO {schema}.memory_events (owner, namespace, key, action, reason)
    SELECT of_owner, namespace, key, 'let_through', reason FROM gone;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this write is not in quarantine any more' USING ERRCODE = 'LM002';
    END IF;
    RETURN true;
END
$function$;
