-- What the runs of a thread used. A run is one row however often it is stored: a run that waits for an approval
-- is stored again when it has gone on.
CREATE TABLE {schema}.run_usage (
    owner text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    model text,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, thread_id, run_id)
);

ALTER TABLE {schema}.run_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.run_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.run_usage
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));

-- What runs used goes with the items, and so with the thread.
CREATE OR REPLACE FUNCTION {schema}.empty_thread(of_owner text, of_thread text) RETURNS bigint
LANGUAGE plpgsql AS $function$
BEGIN
    DELETE FROM {schema}.thread_items WHERE owner = of_owner AND thread_id = of_thread;
    DELETE FROM {schema}.run_usage WHERE owner = of_owner AND thread_id = of_thread;
    PERFORM {schema}.remove_checkpoints(of_owner, of_thread);
    RETURN 0;
END
$function$;
