-- Titles, metadata, expiry and forks of threads.

ALTER TABLE {schema}.threads
    ADD COLUMN title text,
    ADD COLUMN metadata jsonb NOT NULL DEFAULT '{{}}',
    ADD COLUMN lifetime interval,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN forked_from text COLLATE "C",
    ADD COLUMN forked_position bigint,
    ADD CHECK (lifetime IS NULL OR expires_at IS NOT NULL);

-- Every write touches its thread. An index on the moment would get an entry each time, and so would the primary
-- key: half of what an append costs. The day changes once a day, and every other update stays within its page.
DROP INDEX {schema}.threads_by_activity;
ALTER TABLE {schema}.threads
    ADD COLUMN active_on date NOT NULL GENERATED ALWAYS AS ((updated_at AT TIME ZONE 'UTC')::date) STORED,
    SET (fillfactor = 70);
CREATE INDEX threads_by_activity ON {schema}.threads (owner, active_on);
CREATE INDEX threads_expiring ON {schema}.threads (owner, expires_at) WHERE expires_at IS NOT NULL;

-- What a thread leaves behind is removed in one place. These are functions and not statements, so that an append
-- can call one in the rare case that its thread has expired, and pays nothing for it otherwise. A function that
-- changes something sees what was committed before it was called: called once the thread's row is locked, it
-- misses no item. It runs with the rights, and behind the row-level security, of its caller.
CREATE FUNCTION {schema}.remove_checkpoints(of_owner text, of_thread text) RETURNS void
LANGUAGE plpgsql AS $function$
BEGIN
    DELETE FROM {schema}.checkpoint_writes WHERE owner = of_owner AND thread_id = of_thread;
    DELETE FROM {schema}.checkpoint_blobs WHERE owner = of_owner AND thread_id = of_thread;
    DELETE FROM {schema}.checkpoints WHERE owner = of_owner AND thread_id = of_thread;
    DELETE FROM {schema}.checkpoint_segments WHERE owner = of_owner AND thread_id = of_thread;
    DELETE FROM {schema}.checkpoint_positions WHERE owner = of_owner AND thread_id = of_thread;
END
$function$;

-- Returns 0, the last position of a thread without items.
CREATE FUNCTION {schema}.empty_thread(of_owner text, of_thread text) RETURNS bigint
LANGUAGE plpgsql AS $function$
BEGIN
    DELETE FROM {schema}.thread_items WHERE owner = of_owner AND thread_id = of_thread;
    PERFORM {schema}.remove_checkpoints(of_owner, of_thread);
    RETURN 0;
END
$function$;
