-- Erasure of all that is stored of somebody, holds that put it off, and an audit log that outlives it.

-- What only the functions below may read. The policy is for them: they run as the owner of the tables.
CREATE TABLE {schema}.secrets (
    name text COLLATE "C" PRIMARY KEY,
    secret bytea NOT NULL
);
ALTER TABLE {schema}.secrets ENABLE ROW LEVEL SECURITY;
-- By chance: 244 bits.
INSERT INTO {schema}.secrets
SELECT 'pseudonyms', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
ALTER TABLE {schema}.secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY functions ON {schema}.secrets USING ((SELECT {schema}.owns_tables()));

-- Who may remove nothing, why, and who said so.
CREATE TABLE {schema}.holds (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    name text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    placed_by text NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, name)
);

-- What went in the course of an agent's work while its owner was on hold: rows as they were.
CREATE TABLE {schema}.held_rows (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    row_id bigint GENERATED ALWAYS AS IDENTITY,
    table_name text COLLATE "C" NOT NULL,
    content json NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, row_id)
);

DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['holds', 'held_rows'] LOOP
        EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', {schema_text}, name);
        EXECUTE format('ALTER TABLE %I.%I FORCE ROW LEVEL SECURITY', {schema_text}, name);
        EXECUTE format(
            'CREATE POLICY owner_only ON %I.%I'
            ' USING (owner = (SELECT current_setting(''lakemem.owner'', true)))'
            ' WITH CHECK (owner = (SELECT current_setting(''lakemem.owner'', true)))',
            {schema_text}, name
        );
    END LOOP;
END
$do$;
-- A sweep goes past those who are on hold.
CREATE POLICY sweep ON {schema}.holds FOR SELECT
    USING ((SELECT current_setting('lakemem.owner', true)) IN ('sweep', 'expired'));

-- An agent may take back, compact and clear while its user is on hold: what goes is kept beside. These functions run
-- with the rights, and behind the row-level security, of whoever removes something.
CREATE FUNCTION {schema}.keep_held_rows() RETURNS trigger
LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO {schema}.held_rows (owner, table_name, content)
    SELECT removed.owner, TG_TABLE_NAME, row_to_json(removed)
    FROM removed
    WHERE EXISTS (SELECT FROM {schema}.holds AS h WHERE h.owner = removed.owner);
    RETURN NULL;
END
$function$;

CREATE FUNCTION {schema}.refuse_removal() RETURNS trigger
LANGUAGE plpgsql AS $function$
BEGIN
    IF EXISTS (SELECT FROM removed JOIN {schema}.holds AS h ON h.owner = removed.owner) THEN
        RAISE EXCEPTION 'the owner is on hold' USING ERRCODE = 'LM003';
    END IF;
    RETURN NULL;
END
$function$;

DO $do$
DECLARE
    name text;
    function text;
BEGIN
    FOR name, function IN VALUES
        ('thread_items', 'keep_held_rows'), ('run_usage', 'keep_held_rows'), ('checkpoints', 'keep_held_rows'),
        ('checkpoint_blobs', 'keep_held_rows'), ('checkpoint_segments', 'keep_held_rows'),
        ('checkpoint_writes', 'keep_held_rows'),
        ('threads', 'refuse_removal'), ('memories', 'refuse_removal'), ('runs', 'refuse_removal'),
        ('run_events', 'refuse_removal')
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I AFTER DELETE ON %I.%I REFERENCING OLD TABLE AS removed'
            ' FOR EACH STATEMENT EXECUTE FUNCTION %I.%I()',
            function, {schema_text}, name, {schema_text}, function
        );
    END LOOP;
END
$do$;

-- The audit log tells of what concerns all that somebody has, too: who asked for it, why, and what came of it.
ALTER TABLE {schema}.memory_events
    ALTER COLUMN namespace DROP NOT NULL,
    ALTER COLUMN key DROP NOT NULL,
    ADD COLUMN requested_by text,
    ADD COLUMN reason text,
    ADD COLUMN details jsonb,
    DROP CONSTRAINT memory_events_action_check,
    ADD CONSTRAINT memory_events_action_check CHECK (action IN (
        'save', 'update', 'delete', 'erase', 'merge', 'supersede', 'revert', 'forget', 'consolidate', 'decay',
        'erase_all', 'hold', 'release', 'export'
    ));
CREATE INDEX memory_events_erasures ON {schema}.memory_events (owner, at) WHERE action = 'erase_all';

-- Lets an attempt at a run write only while it is the last one: none does when the run was erased, or somebody else has
-- taken it.
CREATE FUNCTION {schema}.check_attempt(of_owner text, of_run text, number integer) RETURNS void
LANGUAGE plpgsql STABLE AS $function$
BEGIN
    IF NOT EXISTS (
        SELECT FROM {schema}.runs AS r WHERE r.owner = of_owner AND r.run_id = of_run AND r.attempt = number
    ) THEN
        RAISE EXCEPTION 'this attempt is not the last one of its run' USING ERRCODE = 'LM001';
    END IF;
END
$function$;

-- The functions from here on run as the owner of the tables, and see what an app does not: the audit log, and the
-- marks of writes. Row-level security confines them to the owner that the transaction is set to. A login that is
-- confined to its own rows (`lakemem grants --own-rows`) may call them for itself alone.
CREATE FUNCTION {schema}.check_login(of_owner text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF of_owner <> 'user:' || session_user AND EXISTS (
        SELECT
        FROM pg_policy AS p
        CROSS JOIN LATERAL unnest(p.polroles) AS confined (role)
        JOIN pg_roles AS login ON login.rolname = session_user AND NOT (login.rolsuper OR login.rolbypassrls)
        WHERE p.polrelid = format('%I.memory_events', {schema_text})::regclass AND NOT p.polpermissive
            AND pg_has_role(session_user, confined.role, 'USAGE')
    ) THEN
        RAISE EXCEPTION 'this login is confined to its own rows' USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$function$;

-- What the audit log calls somebody who was erased. Without the secret nobody can tell whom it means.
CREATE FUNCTION {schema}.pseudonym(of_owner text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT 'erased:' || encode(sha256(secret || sha256(secret || convert_to(of_owner, 'UTF8'))), 'hex')
    FROM {schema}.secrets WHERE name = 'pseudonyms'
$function$;
REVOKE EXECUTE ON FUNCTION {schema}.pseudonym(text) FROM PUBLIC;

-- The tables in which rows have owners: those of today and any that are added later.
CREATE FUNCTION {schema}.owned_tables() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT c.relname::text
    FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'owner' AND NOT a.attisdropped
    WHERE c.relnamespace = quote_ident({schema_text})::regnamespace
        AND c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition
    ORDER BY c.relname
$function$;

-- How many rows of somebody are left, by table.
CREATE FUNCTION {schema}.residue(of_owner text) RETURNS TABLE (table_name text, row_count bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM {schema}.check_login(of_owner);
    FOR table_name IN SELECT {schema}.owned_tables() LOOP
        EXECUTE format('SELECT count(*) FROM %I.%I WHERE owner = $1', {schema_text}, table_name)
            INTO row_count USING of_owner;
        IF row_count > 0 THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$function$;

-- The last step of an erasure. What the log says of somebody stays under a pseudonym, without the names of memories,
-- which the person or a model chose. Nothing but the log may be left by then.
CREATE FUNCTION {schema}.log_erasure(of_owner text, by_whom text, why text, counts jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    id text := substr(of_owner, strpos(of_owner, ':') + 1);
    pseudonym text := {schema}.pseudonym(of_owner);
    marks bigint;
    left_in text;
    entries {schema}.memory_events[];
    receipt jsonb;
BEGIN
    PERFORM {schema}.check_login(of_owner);
    DELETE FROM {schema}.applied_writes WHERE owner = of_owner;
    GET DIAGNOSTICS marks = ROW_COUNT;
    WITH removed AS (DELETE FROM {schema}.memory_events WHERE owner = of_owner RETURNING *)
    SELECT array_agg(ROW(removed.*)::{schema}.memory_events ORDER BY removed.event_id) INTO entries FROM removed;
    SELECT string_agg(table_name, ', ') INTO left_in FROM {schema}.residue(of_owner);
    IF left_in IS NOT NULL THEN
        RAISE EXCEPTION 'rows are left' USING ERRCODE = 'LM005', TABLE = left_in;
    END IF;
    counts := counts || jsonb_build_object(
        'applied_writes', marks, 'memory_events', coalesce(cardinality(entries), 0)
    );
    PERFORM set_config('lakemem.owner', pseudonym, true);
    INSERT INTO {schema}.memory_events (owner, version, action, actor, at, requested_by, reason, details)
    SELECT
        pseudonym, e.version, e.action, CASE e.actor WHEN id THEN pseudonym ELSE e.actor END, e.at,
        CASE e.requested_by WHEN id THEN pseudonym ELSE e.requested_by END, e.reason, e.details
    FROM unnest(entries) AS e;
    INSERT INTO {schema}.memory_events (owner, action, actor, requested_by, reason, details)
    VALUES (
        pseudonym, 'erase_all', CASE session_user::text WHEN id THEN pseudonym ELSE session_user::text END,
        CASE by_whom WHEN id THEN pseudonym ELSE by_whom END, why, counts
    )
    RETURNING jsonb_build_object(
        'owner', owner, 'event_id', event_id, 'erased_at', at, 'actor', actor, 'requested_by', requested_by,
        'reason', reason, 'counts', details
    ) INTO receipt;
    PERFORM set_config('lakemem.owner', of_owner, true);
    RETURN receipt;
END
$function$;

-- Erases somebody. It runs with the rights of its caller, who holds the lock that lets nobody write meanwhile.
CREATE FUNCTION {schema}.erase_all(of_owner text, by_whom text, why text) RETURNS jsonb
LANGUAGE plpgsql AS $function$
DECLARE
    name text;
    removed bigint;
    counts jsonb := '{{}}';
BEGIN
    IF EXISTS (SELECT FROM {schema}.holds AS h WHERE h.owner = of_owner) THEN
        RAISE EXCEPTION 'the owner is on hold' USING ERRCODE = 'LM003';
    END IF;
    FOR name IN SELECT {schema}.owned_tables() LOOP
        -- Of these, the first two are empty without a hold, and the others are left to the last step.
        CONTINUE WHEN name IN ('holds', 'held_rows', 'applied_writes', 'memory_events');
        EXECUTE format('DELETE FROM %I.%I WHERE owner = $1', {schema_text}, name) USING of_owner;
        GET DIAGNOSTICS removed = ROW_COUNT;
        counts := counts || jsonb_build_object(name, removed);
    END LOOP;
    RETURN {schema}.log_erasure(of_owner, by_whom, why, counts);
END
$function$;

-- For a write that was accepted so many seconds ago, and has waited elsewhere: what somebody said before it was all
-- erased does not come back.
CREATE FUNCTION {schema}.refuse_erased(of_owner text, waited double precision) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    erased_at timestamptz;
BEGIN
    PERFORM {schema}.check_login(of_owner);
    PERFORM set_config('lakemem.owner', {schema}.pseudonym(of_owner), true);
    SELECT max(at) INTO erased_at
    FROM {schema}.memory_events
    WHERE owner = current_setting('lakemem.owner') AND action = 'erase_all';
    PERFORM set_config('lakemem.owner', of_owner, true);
    IF erased_at > clock_timestamp() - make_interval(secs => waited) THEN
        RAISE EXCEPTION 'the owner was erased' USING ERRCODE = 'LM004';
    END IF;
END
$function$;
