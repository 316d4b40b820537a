-- Work that is put off, and outlives whoever does it: facts to extract, and vectors that come late.

-- A job that is done is deleted. Its payload names memories by their keys, and never says what is in them.
CREATE TABLE {schema}.jobs (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    job_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('extract', 'embed')),
    payload jsonb NOT NULL DEFAULT '{{}}',
    status text COLLATE "C" NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    run_after timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Of the attempt that is under way: whoever has another one can complete nothing.
    lease uuid,
    leased_until timestamptz,
    -- The name of an error's class: its words may quote what was said.
    last_error text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, job_id),
    CHECK ((status = 'running') = (lease IS NOT NULL)),
    CHECK ((lease IS NULL) = (leased_until IS NULL))
);
-- A job is due when nobody has it leased any more, and it need not wait.
CREATE INDEX jobs_due ON {schema}.jobs (greatest(run_after, leased_until), owner) WHERE status <> 'dead';

ALTER TABLE {schema}.jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.jobs FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.jobs
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));
-- As the owner 'jobs', which nobody is, a worker may see which jobs are due, and which are given up. It does them as
-- their owners.
CREATE POLICY jobs ON {schema}.jobs FOR SELECT USING (
    (SELECT current_setting('lakemem.owner', true)) = 'jobs'
    AND (status = 'dead' OR greatest(run_after, leased_until) <= now())
);

-- Ends a job in the transaction of its results: where the lease was lost, they are not written either.
CREATE FUNCTION {schema}.complete_job(of_owner text, of_job text, by_lease uuid) RETURNS boolean
LANGUAGE plpgsql AS $function$
BEGIN
    DELETE FROM {schema}.jobs WHERE owner = of_owner AND job_id = of_job AND lease = by_lease;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lease on this job was lost' USING ERRCODE = 'LM001';
    END IF;
    RETURN true;
END
$function$;
