-- Saves that wait at the same moment are one statement, whoever they are of: to begin a statement takes longer than the
-- save itself.

-- Read for every row, so that each is held to the owner who is set when it is written: what may be written is the same.
ALTER POLICY owner_only ON {schema}.memories WITH CHECK (owner = current_setting('lakemem.owner', true));
ALTER POLICY owner_only ON {schema}.memory_events WITH CHECK (owner = current_setting('lakemem.owner', true));

-- What {schema}.save is given, with the lock on the key, and its place among others.
CREATE TYPE {schema}.given_memory AS (
    place bigint, lock text, owner text, namespace text[], key text, value text, text text, metadata text,
    content_hash bytea, embedding text, embedding_model text, importance real, thread_id text, "position" bigint,
    occurred_at timestamptz, expires_in double precision, kind text, valid_from timestamptz, sources text[], trust text,
    less_trusted text[], yields_to text[], closing text
);

-- Several saves, no two of them of the same memory, each told with its place. The new memories go in together; where
-- there is something already, {schema}.save decides. It takes the locks, and leaves the settings as they were.
CREATE FUNCTION {schema}.save_all(saves json) RETURNS TABLE (
    place bigint, namespace text[], key text, value text, text text, metadata text, version bigint,
    valid_from timestamptz, valid_to timestamptz, occurred_at timestamptz, expires_at timestamptz, embedded boolean,
    owner text, kind text, thread_id text, "position" bigint, importance real, sources text[], similar_to text[],
    created_at timestamptz, superseded_by bigint, trust text, outcome text
)
LANGUAGE plpgsql SET plan_cache_mode TO force_generic_plan AS $function$
#variable_conflict use_column
DECLARE
    given {schema}.given_memory[];
    one {schema}.given_memory;
    owners text[];
    new_places bigint[];
    owner_before text := coalesce(current_setting('lakemem.owner', true), '');
    setting text;
BEGIN
    SELECT array_agg(g), array_agg(g.owner) INTO given, owners
    FROM json_populate_recordset(NULL::{schema}.given_memory, saves) AS g;
    PERFORM
        pg_advisory_xact_lock_shared(hashtextextended('lakemem writes of ' || g.owner, 0)),
        pg_advisory_xact_lock(hashtextextended(g.lock, 0))
    FROM unnest(given) AS g;

    -- An assignment, for it takes no query of its own.
    setting := set_config('lakemem.also_read', owners::text, true);
    SELECT array_agg(g.place) INTO new_places
    FROM unnest(given) AS g
    WHERE NOT EXISTS (
        SELECT FROM {schema}.memories AS m
        WHERE m.owner = g.owner AND m.key = g.key AND m.namespace = g.namespace
        OFFSET 0
    );
    setting := set_config('lakemem.also_read', '', true);

    RETURN QUERY WITH new AS MATERIALIZED (
        SELECT
            g.*, saved_at, least(g.valid_from, saved_at) AS since,
            saved_at + make_interval(secs => g.expires_in) AS expires_at
        FROM unnest(given) AS g CROSS JOIN LATERAL (SELECT clock_timestamp() AS saved_at) AS moment
        WHERE g.place = ANY (new_places)
    ), stored AS (
        INSERT INTO {schema}.memories (
            owner, namespace, key, version, kind, value, text, metadata, embedding, embedding_model, content_hash,
            importance, thread_id, position, occurred_at, sources, expires_at, valid_from, created_at, trust
        )
        SELECT
            set_config('lakemem.owner', owner, true), namespace, key, 1, kind, value::json, text, metadata::jsonb,
            embedding::{vector}.halfvec, embedding_model, content_hash, importance, thread_id, position, occurred_at,
            sources, expires_at, since, saved_at, trust
        FROM new
    ), noted AS (
        INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
        SELECT set_config('lakemem.owner', owner, true), namespace, key, 1, 'save' FROM new
    )
    SELECT
        place, namespace, key, value, text, metadata::jsonb::text, 1::bigint, since, NULL::timestamptz, occurred_at,
        expires_at, embedding IS NOT NULL, owner, kind, thread_id, position, importance, sources, '{{}}'::text[],
        saved_at, NULL::bigint, trust, 'saved'
    FROM new;

    IF cardinality(new_places) IS DISTINCT FROM cardinality(given) THEN
        FOREACH one IN ARRAY given LOOP
            CONTINUE WHEN one.place = ANY (new_places);
            setting := set_config('lakemem.owner', one.owner, true);
            RETURN QUERY SELECT one.place, saved.* FROM {schema}.save(
                one.owner, one.namespace, one.key, one.value::json, one.text, one.metadata::jsonb, one.content_hash,
                one.embedding, one.embedding_model, one.importance, one.thread_id, one."position", one.occurred_at,
                one.expires_in, one.kind, one.valid_from, one.sources, one.trust, one.less_trusted, one.yields_to,
                one.closing, '{{}}', NULL, NULL
            ) AS saved;
        END LOOP;
    END IF;
    setting := set_config('lakemem.owner', owner_before, true);
END
$function$;
