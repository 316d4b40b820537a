-- Runs of agents that outlive the connection, and the process, that began them.

-- What changes with every append is in no index, so that such an update stays within its page.
CREATE TABLE {schema}.runs (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    run_id text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C",
    previous_run_id text COLLATE "C",
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('invoke', 'stream')),
    background boolean NOT NULL,
    status text COLLATE "C" NOT NULL DEFAULT 'queued' CHECK (
        status IN ('queued', 'in_progress', 'waiting', 'completed', 'failed', 'cancelled', 'incomplete')
    ),
    -- JSON as it was given: jsonb knows neither the order of keys nor NUL.
    request text NOT NULL,
    output text,
    question text,
    answer text,
    metadata jsonb NOT NULL,
    error_code text COLLATE "C",
    error_message text,
    idempotency_key text COLLATE "C",
    -- Counts how often it was claimed, and is the fencing token: whoever has another one can write nothing.
    attempt integer NOT NULL DEFAULT 0,
    -- Attempts that ended through no fault of their own: handed over, or waiting for a person.
    uncounted integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL,
    -- The last attempt that asked a person.
    asked_by integer NOT NULL DEFAULT 0,
    -- Of the events that are kept; those before have been swept.
    first_sequence bigint NOT NULL DEFAULT 0,
    last_sequence bigint NOT NULL DEFAULT -1,
    -- The advisory lock that its worker holds while it is connected; NULL where no session can hold one.
    worker bigint,
    leased_until timestamptz,
    touched_at timestamptz,
    run_after timestamptz NOT NULL DEFAULT clock_timestamp(),
    cancel_requested_at timestamptz,
    waiting_since timestamptz,
    deadline timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    completed_at timestamptz,
    PRIMARY KEY (owner, run_id),
    UNIQUE (owner, idempotency_key),
    CHECK ((status = 'in_progress') = (leased_until IS NOT NULL)),
    CHECK ((status = 'waiting') = (waiting_since IS NOT NULL)),
    CHECK ((status IN ('queued', 'in_progress', 'waiting')) = (completed_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX runs_of_thread ON {schema}.runs (owner, thread_id) WHERE status IN ('queued', 'in_progress');
CREATE INDEX runs_by_age ON {schema}.runs (owner, created_at, run_id);
-- For those who are told an id, and not whose it is.
CREATE INDEX runs_by_id ON {schema}.runs (run_id);
-- Small, whatever has been done before: what a worker looks through.
CREATE INDEX runs_under_way ON {schema}.runs (created_at) WHERE status IN ('queued', 'in_progress');
CREATE INDEX runs_ended ON {schema}.runs (completed_at) WHERE completed_at IS NOT NULL;
-- One run of a thread at a time, whatever a worker believes.
CREATE UNIQUE INDEX runs_one_of_thread ON {schema}.runs (owner, thread_id) WHERE status = 'in_progress';

CREATE TABLE {schema}.run_events (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    run_id text COLLATE "C" NOT NULL,
    sequence_number bigint NOT NULL,
    attempt integer NOT NULL,
    event text NOT NULL,
    PRIMARY KEY (owner, run_id, sequence_number)
);

-- The workers that are connected: Postgres frees the lock of one that is killed as soon as its socket is closed.
CREATE FUNCTION {schema}.connected_workers() RETURNS bigint[]
LANGUAGE sql STABLE AS $function$
    SELECT coalesce(array_agg((classid::bigint << 32) | objid::bigint), '{{}}')
    FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ExclusiveLock' AND granted
        AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
$function$;

ALTER TABLE {schema}.runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.runs FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.runs
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));
ALTER TABLE {schema}.run_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.run_events FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.run_events
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));

-- As the owner 'runs', which nobody is, a worker sees what is due: queued, or abandoned by its worker, or past its
-- time. It does it as its owner.
CREATE POLICY due ON {schema}.runs FOR SELECT USING (
    (SELECT current_setting('lakemem.owner', true)) = 'runs'
    AND (
        status = 'queued' AND run_after <= now()
        OR status IN ('queued', 'in_progress') AND deadline <= now()
        OR status = 'in_progress' AND (
            leased_until <= now()
            OR cancel_requested_at < now() - interval '15 seconds'
            OR touched_at < now() - interval '1.5 seconds'
                AND worker <> ALL ((SELECT {schema}.connected_workers())::bigint[])
        )
    )
);
-- As the owner 'dead runs': what was given up.
CREATE POLICY dead ON {schema}.runs FOR SELECT USING (
    (SELECT current_setting('lakemem.owner', true)) = 'dead runs' AND error_code = 'attempts_exhausted'
);
-- As the owner 'tails', whoever waits for the events of many runs sees in one look which of them have moved.
CREATE POLICY tails ON {schema}.runs FOR SELECT
    USING ((SELECT current_setting('lakemem.owner', true)) = 'tails');
CREATE POLICY sweep ON {schema}.runs FOR SELECT
    USING ((SELECT current_setting('lakemem.owner', true)) = 'sweep' AND completed_at IS NOT NULL);
