-- A large channel value is stored by its elements, each of them once: what stayed the same since an earlier
-- version is not stored again. Elements have positions that are never given twice in a channel. A segment holds
-- elements in a row; a version of the channel says which positions it consists of, as spans.

CREATE TABLE {schema}.checkpoint_segments (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    thread_id text COLLATE "C" NOT NULL,
    checkpoint_ns text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    length integer NOT NULL CHECK (length > 0),
    type text NOT NULL,
    blob bytea NOT NULL,
    PRIMARY KEY (owner, thread_id, checkpoint_ns, channel, position)
);

-- Hands out the positions.
CREATE TABLE {schema}.checkpoint_positions (
    owner text COLLATE "C" NOT NULL CHECK (owner <> ''),
    thread_id text COLLATE "C" NOT NULL,
    checkpoint_ns text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    last_position bigint NOT NULL,
    PRIMARY KEY (owner, thread_id, checkpoint_ns, channel)
) WITH (fillfactor = 70);

-- A version is stored whole (type, blob), or by its elements: `kind` says what they make up, and spans is
-- first, last, first, last ...
ALTER TABLE {schema}.checkpoint_blobs
    ALTER COLUMN type DROP NOT NULL,
    ALTER COLUMN blob DROP NOT NULL,
    ADD COLUMN kind text,
    ADD COLUMN spans bigint[],
    ADD CHECK (num_nulls(type, blob) IN (0, 2)),
    ADD CHECK (num_nulls(kind, spans) IN (0, 2)),
    ADD CHECK (num_nonnulls(blob, spans) = 1);

DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['checkpoint_segments', 'checkpoint_positions'] LOOP
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
