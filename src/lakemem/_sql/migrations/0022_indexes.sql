-- An index of a large scope, made of ordinary rows: behind row-level security no other kind serves a search, for neither
-- distances nor text search are leakproof. It only says where to look: what it finds is read, compared and weighed as
-- it stands among the memories, and what was stored after it was made is looked through besides.

-- When a row was written, or was given its vector; a copy of a memory keeps its other times.
ALTER TABLE {schema}.memories ADD COLUMN stored_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE {schema}.memories ALTER COLUMN stored_at SET DEFAULT clock_timestamp();
-- It serves only what repeats its condition, which always holds: a plan for one memory must not look through all of its
-- owner's.
CREATE INDEX memories_stored ON {schema}.memories (owner, stored_at)
    WHERE valid_to IS NULL AND stored_at > '-infinity';

CREATE TABLE {schema}.indexes (
    owner text COLLATE "C" PRIMARY KEY CHECK (owner <> ''),
    -- Of the vectors; a search by another model does without the index.
    model text COLLATE "C" NOT NULL,
    -- What was stored later may not be in it.
    indexed_until timestamptz NOT NULL,
    memories integer NOT NULL DEFAULT 0,
    total_length bigint NOT NULL DEFAULT 0
);

-- Vectors that are near each other have numbers beside each other, from the first to the last of a cell (an inverted
-- file: Sivic and Zisserman, 2003).
CREATE TABLE {schema}.indexed_cells (
    owner text COLLATE "C" NOT NULL,
    cell integer NOT NULL,
    first integer,
    last integer,
    centroid {vector}.halfvec NOT NULL,
    PRIMARY KEY (owner, cell)
);
ALTER TABLE {schema}.indexed_cells ALTER COLUMN centroid SET STORAGE PLAIN;

CREATE TABLE {schema}.indexed_memories (
    owner text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    embedding {vector}.halfvec,
    version bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    namespace text[] COLLATE "C" NOT NULL,
    PRIMARY KEY (owner, number),
    UNIQUE (owner, key, version, namespace)
);
ALTER TABLE {schema}.indexed_memories ALTER COLUMN embedding SET STORAGE PLAIN;

CREATE TABLE {schema}.indexed_words (
    owner text COLLATE "C" NOT NULL,
    word text COLLATE "C" NOT NULL,
    numbers integer[] NOT NULL,
    PRIMARY KEY (owner, word)
);

ALTER TABLE {schema}.indexes ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.indexes FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.indexes
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));
CREATE POLICY also_read ON {schema}.indexes FOR SELECT USING (
    owner = ANY ((SELECT nullif(current_setting('lakemem.also_read', true), '')::text[])::text[])
);

ALTER TABLE {schema}.indexed_cells ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.indexed_cells FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.indexed_cells
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));
CREATE POLICY also_read ON {schema}.indexed_cells FOR SELECT USING (
    owner = ANY ((SELECT nullif(current_setting('lakemem.also_read', true), '')::text[])::text[])
);

ALTER TABLE {schema}.indexed_memories ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.indexed_memories FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.indexed_memories
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));
CREATE POLICY also_read ON {schema}.indexed_memories FOR SELECT USING (
    owner = ANY ((SELECT nullif(current_setting('lakemem.also_read', true), '')::text[])::text[])
);

ALTER TABLE {schema}.indexed_words ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.indexed_words FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON {schema}.indexed_words
    USING (owner = (SELECT current_setting('lakemem.owner', true)))
    WITH CHECK (owner = (SELECT current_setting('lakemem.owner', true)));
CREATE POLICY also_read ON {schema}.indexed_words FOR SELECT USING (
    owner = ANY ((SELECT nullif(current_setting('lakemem.also_read', true), '')::text[])::text[])
);

-- A memory that is erased takes its vector and its words with it: a rare word may say as much as the whole.
CREATE FUNCTION {schema}.leave_index() RETURNS trigger
LANGUAGE plpgsql AS $function$
BEGIN
    IF EXISTS (
        SELECT FROM {schema}.indexes AS s WHERE s.owner = (SELECT current_setting('lakemem.owner', true))
    ) THEN
        WITH gone AS (
            DELETE FROM {schema}.indexed_memories AS i USING removed AS r
            WHERE i.owner = r.owner AND i.key = r.key AND i.version = r.version AND i.namespace = r.namespace
            RETURNING i.owner, i.number, r.tsv
        ), of_words AS (
            SELECT owner, word, array_agg(number) AS numbers
            FROM gone CROSS JOIN unnest(tsvector_to_array(tsv)) AS word
            GROUP BY owner, word
        )
        UPDATE {schema}.indexed_words AS w
        SET numbers = ARRAY(SELECT number FROM unnest(w.numbers) AS number WHERE number <> ALL (of_words.numbers))
        FROM of_words
        WHERE w.owner = of_words.owner AND w.word = of_words.word;
        DELETE FROM {schema}.indexed_words AS w
        WHERE w.owner = (SELECT current_setting('lakemem.owner', true)) AND w.numbers = '{{}}';
    END IF;
    RETURN NULL;
END
$function$;
CREATE TRIGGER leave_index AFTER DELETE ON {schema}.memories REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.leave_index();

ALTER TABLE {schema}.jobs DROP CONSTRAINT jobs_kind_check;
ALTER TABLE {schema}.jobs ADD CONSTRAINT jobs_kind_check CHECK (kind IN ('extract', 'embed', 'index'));
