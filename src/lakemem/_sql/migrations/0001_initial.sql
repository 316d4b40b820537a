-- Threads, checkpoints and memories. Every row has an owner, "user:ID" or "scope:ID", and every primary key
-- begins with it, so that a table can be confined by row-level security and split by owner later.
-- Identifiers are compared byte by byte (collation C): the order of checkpoint ids depends on it.

CREATE TABLE {schema}.threads (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    thread_id text COLLATE "C" NOT NULL,
    last_position bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, thread_id)
);
CREATE INDEX threads_by_activity ON {schema}.threads (owner, updated_at DESC);

-- json, not jsonb: the order of keys, and \u0000, come back as they were.
CREATE TABLE {schema}.thread_items (
    owner text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    item json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, thread_id, position)
);

CREATE TABLE {schema}.checkpoints (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    thread_id text COLLATE "C" NOT NULL,
    checkpoint_ns text COLLATE "C" NOT NULL,
    checkpoint_id text COLLATE "C" NOT NULL,
    parent_checkpoint_id text COLLATE "C",
    type text NOT NULL,
    checkpoint bytea NOT NULL,
    channel_versions jsonb NOT NULL,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, thread_id, checkpoint_ns, checkpoint_id)
);

CREATE TABLE {schema}.checkpoint_blobs (
    owner text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    checkpoint_ns text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    type text NOT NULL,
    blob bytea NOT NULL,
    PRIMARY KEY (owner, thread_id, checkpoint_ns, channel, version)
);

CREATE TABLE {schema}.checkpoint_writes (
    owner text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    checkpoint_ns text COLLATE "C" NOT NULL,
    checkpoint_id text COLLATE "C" NOT NULL,
    task_id text COLLATE "C" NOT NULL,
    idx integer NOT NULL,
    task_path text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    type text NOT NULL,
    blob bytea NOT NULL,
    PRIMARY KEY (owner, thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);

-- A row is one version of one memory. A new version closes the one before it (valid_to, superseded_by).
-- The embedding has no fixed dimensions: rows carry the model they were made with, and a search compares
-- only rows of its own model.
CREATE TABLE {schema}.memories (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    namespace text[] COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    value json NOT NULL,
    text text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{{}}',
    embedding {vector}.halfvec,
    embedding_model text COLLATE "C",
    tsv tsvector NOT NULL GENERATED ALWAYS AS (to_tsvector('pg_catalog.english', text)) STORED,
    length integer NOT NULL GENERATED ALWAYS AS (length(to_tsvector('pg_catalog.english', text))) STORED,
    content_hash bytea NOT NULL,
    importance real NOT NULL DEFAULT 0.5 CHECK (importance BETWEEN 0 AND 1),
    thread_id text COLLATE "C",
    position bigint,
    occurred_at timestamptz,
    expires_at timestamptz,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz,
    superseded_by bigint,
    PRIMARY KEY (owner, namespace, key, version),
    CHECK ((embedding IS NULL) = (embedding_model IS NULL))
);
-- Inline, an exact scan reads the vectors of a scope twice as fast as from the TOAST table.
ALTER TABLE {schema}.memories ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE UNIQUE INDEX memories_current ON {schema}.memories (owner, namespace, key) WHERE valid_to IS NULL;

-- The audit log: who did what to which memory, and when; never the text.
CREATE TABLE {schema}.memory_events (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    event_id bigint GENERATED ALWAYS AS IDENTITY,
    namespace text[] COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    version bigint,
    action text NOT NULL CHECK (action IN ('save', 'update', 'delete', 'erase')),
    actor text NOT NULL DEFAULT current_user,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, event_id)
);

-- Writes that were given an id, so that one whose outcome nobody saw can be repeated without doing it twice.
CREATE TABLE {schema}.applied_writes (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    write_id uuid NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, write_id)
);

-- Row-level security, also for the owner of the tables. The scalar subquery is evaluated once a statement and
-- lets the planner use the index; an unset owner (NULL or '') matches no row.
DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'threads', 'thread_items', 'checkpoints', 'checkpoint_blobs', 'checkpoint_writes',
        'memories', 'memory_events', 'applied_writes'
    ] LOOP
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
