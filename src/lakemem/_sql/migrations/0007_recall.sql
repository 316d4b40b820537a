-- The table of memories made anew: what a search reads of every row comes first in it, which halves its time; and
-- what recall, provenance and a change of the embedder need is added.

-- What may stand for a memory in a question: the texts in its metadata, in lower case.
CREATE FUNCTION {schema}.labels(metadata jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ARRAY(
    SELECT DISTINCT lower(value #>> '{{}}')
    FROM jsonb_path_query(metadata, 'strict $.* ? (@.type() == "string")') AS value
    WHERE octet_length(value #>> '{{}}') <= 100
    ORDER BY 1
);

ALTER TABLE {schema}.memories RENAME TO memories_before;
ALTER TABLE {schema}.memories_before RENAME CONSTRAINT memories_pkey TO memories_before_pkey;
DROP INDEX {schema}.memories_current, {schema}.memories_expiring;

-- A row is one version of one memory. A new version closes the one before it (valid_to, superseded_by).
-- The embedding has no fixed dimensions: rows carry the model they were made with, and a search compares only rows of
-- its own model. While the embedder is being changed, a row has the vectors of both.
CREATE TABLE {schema}.memories (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    expires_at timestamptz,
    valid_to timestamptz,
    valid_from timestamptz NOT NULL,
    occurred_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    version bigint NOT NULL,
    superseded_by bigint,
    position bigint,
    importance real NOT NULL DEFAULT 0.5 CHECK (importance BETWEEN 0 AND 1),
    length integer NOT NULL GENERATED ALWAYS AS (length(to_tsvector('pg_catalog.english', text))) STORED,
    lifetime interval CHECK (lifetime > interval '0'),
    embedding_model text COLLATE "C",
    next_embedding_model text COLLATE "C",
    embedding {vector}.halfvec,
    next_embedding {vector}.halfvec,
    thread_id text COLLATE "C",
    namespace text[] COLLATE "C" NOT NULL,
    tsv tsvector NOT NULL GENERATED ALWAYS AS (to_tsvector('pg_catalog.english', text)) STORED,
    -- What made this memory: 'fact' for what was saved or extracted, 'turn' for what was said.
    kind text COLLATE "C" NOT NULL DEFAULT 'fact' CHECK (kind IN ('fact', 'turn')),
    key text COLLATE "C" NOT NULL,
    labels text[] NOT NULL GENERATED ALWAYS AS ({schema}.labels(metadata)) STORED,
    metadata jsonb NOT NULL DEFAULT '{{}}',
    content_hash bytea NOT NULL,
    -- The keys of the memories, in the same namespace, that this one was made of, and of those that say nearly the same.
    sources text[] COLLATE "C" NOT NULL DEFAULT '{{}}',
    similar_to text[] COLLATE "C" NOT NULL DEFAULT '{{}}',
    value json NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (owner, key, version, namespace),
    CHECK ((embedding IS NULL) = (embedding_model IS NULL)),
    CHECK ((next_embedding IS NULL) = (next_embedding_model IS NULL))
);
-- Inline, an exact scan reads the vectors of a scope twice as fast as from the TOAST table. Two of them may not fit.
ALTER TABLE {schema}.memories ALTER COLUMN embedding SET STORAGE PLAIN;
ALTER TABLE {schema}.memories ALTER COLUMN next_embedding SET STORAGE EXTERNAL;

-- Row-level security that is forced would hide every row from this statement.
ALTER TABLE {schema}.memories_before NO FORCE ROW LEVEL SECURITY;
INSERT INTO {schema}.memories (
    owner, expires_at, valid_to, valid_from, occurred_at, created_at, version, superseded_by, position, importance,
    lifetime, embedding_model, embedding, thread_id, key, namespace, metadata, content_hash, value, text
)
SELECT
    owner, expires_at, valid_to, valid_from, occurred_at, created_at, version, superseded_by, position, importance,
    lifetime, embedding_model, embedding, thread_id, key, namespace, metadata, content_hash, value, text
FROM {schema}.memories_before
ORDER BY owner, valid_from;
DROP TABLE {schema}.memories_before;

CREATE UNIQUE INDEX memories_current ON {schema}.memories (owner, key, namespace) WHERE valid_to IS NULL;
-- For the turns around a hit.
CREATE INDEX memories_by_thread ON {schema}.memories (owner, thread_id, position)
    WHERE thread_id IS NOT NULL;
CREATE INDEX memories_expiring ON {schema}.memories (expires_at, owner)
    WHERE valid_to IS NULL AND expires_at IS NOT NULL;

ALTER TABLE {schema}.memories ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.memories FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.memories
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));
CREATE POLICY expired ON {schema}.memories FOR SELECT USING (
    (SELECT current_setting('lakemem.owner', true)) = 'expired' AND coalesce(expires_at <= now(), false)
);
-- Shared scopes that may be read besides one's own memories, in the same statement; the setting is local to it.
CREATE POLICY also_read ON {schema}.memories FOR SELECT USING (
    owner = ANY ((SELECT nullif(current_setting('lakemem.also_read', true), '')::text[])::text[])
);

ALTER TABLE {schema}.memory_events DROP CONSTRAINT memory_events_action_check;
ALTER TABLE {schema}.memory_events ADD CONSTRAINT memory_events_action_check CHECK (action IN (
    'save', 'update', 'delete', 'erase', 'merge', 'supersede', 'revert', 'forget', 'consolidate', 'decay'
));
