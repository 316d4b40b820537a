-- A save is a function: Postgres keeps the plans of its steps, and begins only those that it comes to. Most memories
-- are new, and take three of them.

-- What a save tells of the memory.
CREATE TYPE {schema}.saved_memory AS (
    namespace text[], key text, value text, text text, metadata text, version bigint, valid_from timestamptz,
    valid_to timestamptz, occurred_at timestamptz, expires_at timestamptz, embedded boolean, owner text, kind text,
    thread_id text, "position" bigint, importance real, sources text[], similar_to text[], created_at timestamptz,
    superseded_by bigint, trust text, outcome text
);

-- A version takes its place, and the one that was in effect there is closed. Nothing is stored where that one says the
-- same, or was said by somebody to whom this write yields, or where another memory, the twin, says it already.
-- The caller holds the lock on the key, and has looked among the other keys for what is similar. What has no valid_from
-- holds from now on.
CREATE FUNCTION {schema}.save(
    owner text, namespace text[], key text, value json, text text, metadata jsonb, content_hash bytea,
    embedding text, embedding_model text, importance real, thread_id text, "position" bigint, occurred_at timestamptz,
    expires_in double precision, kind text, valid_from timestamptz, sources text[], trust text, less_trusted text[],
    yields_to text[], closing text, similar_to text[], twin_key text, twin_version bigint
) RETURNS SETOF {schema}.saved_memory
LANGUAGE plpgsql AS $function$
#variable_conflict use_column
DECLARE
    is_late boolean := save.valid_from IS NOT NULL;
    since timestamptz := least(save.valid_from, clock_timestamp());
    expiry timestamptz := clock_timestamp() + make_interval(secs => save.expires_in);
    last_version bigint;
    last_valid_to timestamptz;
    held {schema}.memories;
    next_version bigint;
    next_valid_from timestamptz;
    is_alive boolean;
    is_same boolean;
    outranks boolean;
    told {schema}.memories;
    outcome text;
    closed_at timestamptz;
    saved_at timestamptz;
BEGIN
    SELECT m.version, m.valid_to INTO last_version, last_valid_to FROM {schema}.memories AS m
    WHERE m.owner = save.owner AND m.key = save.key AND m.namespace = save.namespace
    ORDER BY m.version DESC LIMIT 1;

    IF last_version IS NOT NULL AND NOT is_late THEN
        SELECT m.* INTO held FROM {schema}.memories AS m
        WHERE m.owner = save.owner AND m.key = save.key AND m.namespace = save.namespace AND m.valid_to IS NULL;
    ELSIF last_version IS NOT NULL THEN
        -- Locked, for what closes many memories at once does not hold the lock on each key.
        SELECT m.* INTO held FROM {schema}.memories AS m
        WHERE m.owner = save.owner AND m.key = save.key AND m.namespace = save.namespace
            AND m.valid_from <= since AND (m.valid_to IS NULL OR m.valid_to > since)
        FOR NO KEY UPDATE;
        -- Of several since the same moment, the last one is in effect.
        SELECT m.version, m.valid_from INTO next_version, next_valid_from FROM {schema}.memories AS m
        WHERE m.owner = save.owner AND m.key = save.key AND m.namespace = save.namespace AND m.valid_from > since
        ORDER BY m.valid_from, m.version DESC LIMIT 1;
    END IF;

    IF held.version IS NOT NULL THEN
        is_alive := held.expires_at IS NULL OR held.expires_at > clock_timestamp();
        is_same := is_alive AND held.content_hash = save.content_hash AND held.text = save.text
            AND held.metadata = save.metadata
            AND (save.occurred_at IS NULL OR coalesce(held.occurred_at = save.occurred_at, false));
        outranks := is_alive AND held.trust = ANY (save.yields_to);
        IF is_same AND NOT outranks THEN
            -- It lasts as long as was last asked for, is as important and as trusted as ever said, and comes from all
            -- that said so. It may have been saved before there was an embedder.
            UPDATE {schema}.memories AS m
            SET expires_at = expiry, lifetime = CASE WHEN m.expires_at IS NULL AND expiry IS NULL THEN m.lifetime END,
                importance = greatest(m.importance, save.importance),
                trust = CASE WHEN m.trust = ANY (save.less_trusted) THEN save.trust ELSE m.trust END,
                sources = CASE WHEN m.sources @> save.sources THEN m.sources ELSE m.sources || save.sources END,
                embedding = coalesce(m.embedding, save.embedding::{vector}.halfvec),
                embedding_model = CASE WHEN m.embedding IS NULL THEN save.embedding_model ELSE m.embedding_model END
            WHERE m.owner = save.owner AND m.key = save.key AND m.version = held.version
                AND m.namespace = save.namespace AND m.valid_to IS NULL
                AND (
                    m.expires_at IS DISTINCT FROM expiry OR m.importance < save.importance
                    OR m.trust = ANY (save.less_trusted) OR NOT m.sources @> save.sources
                    OR m.embedding IS NULL AND save.embedding IS NOT NULL
                )
            RETURNING m.* INTO told;
        END IF;
        IF is_same OR outranks THEN
            IF told.version IS NULL THEN
                told := held;
            END IF;
            outcome := CASE WHEN is_same THEN 'unchanged' ELSE 'kept' END;
        ELSE
            UPDATE {schema}.memories AS m
            SET valid_to = CASE
                    WHEN is_late THEN since ELSE greatest(clock_timestamp(), m.valid_from + interval '1 microsecond')
                END,
                superseded_by = last_version + 1
            WHERE m.owner = save.owner AND m.key = save.key AND m.version = held.version
                AND m.namespace = save.namespace AND (m.valid_to IS NULL OR is_late)
            RETURNING m.valid_to INTO closed_at;
        END IF;
    ELSIF save.twin_key IS NOT NULL THEN
        -- Of two times to live, the longer one keeps what both say. The twin may have been forgotten in the meantime.
        UPDATE {schema}.memories AS m
        SET expires_at = CASE
                WHEN m.expires_at IS NOT NULL AND expiry IS NOT NULL THEN greatest(m.expires_at, expiry)
            END,
            lifetime = CASE WHEN m.expires_at >= expiry THEN m.lifetime END,
            importance = greatest(m.importance, save.importance),
            sources = CASE WHEN m.sources @> save.sources THEN m.sources ELSE m.sources || save.sources END
        WHERE m.owner = save.owner AND m.key = save.twin_key AND m.version = save.twin_version
            AND m.namespace = save.namespace AND m.valid_to IS NULL
        RETURNING m.* INTO told;
        IF FOUND THEN
            outcome := 'merged';
            INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
            VALUES (save.owner, save.namespace, save.twin_key, save.twin_version, 'merge');
        END IF;
    END IF;

    IF outcome IS NOT NULL THEN
        RETURN QUERY SELECT
            told.namespace, told.key, told.value::text, told.text, told.metadata::text, told.version,
            told.valid_from, told.valid_to, told.occurred_at, told.expires_at,
            told.embedding IS NOT NULL OR told.next_embedding IS NOT NULL, told.owner, told.kind, told.thread_id,
            told.position, told.importance, told.sources, told.similar_to, told.created_at, told.superseded_by,
            told.trust, outcome;
        RETURN;
    END IF;

    -- After the old version is closed, which may have had to wait.
    saved_at := greatest(clock_timestamp(), last_valid_to);
    IF closed_at IS NOT NULL AND NOT is_late THEN
        saved_at := closed_at;
    END IF;
    RETURN QUERY INSERT INTO {schema}.memories AS m (
        owner, namespace, key, version, kind, value, text, metadata, embedding, embedding_model, content_hash,
        importance, thread_id, position, occurred_at, sources, similar_to,
        expires_at, valid_from, valid_to, superseded_by, created_at, trust
    )
    VALUES (
        save.owner, save.namespace, save.key, coalesce(last_version, 0) + 1, save.kind, save.value, save.text,
        save.metadata, save.embedding::{vector}.halfvec, save.embedding_model, save.content_hash,
        save.importance, save.thread_id, save."position", save.occurred_at, save.sources, save.similar_to,
        saved_at + make_interval(secs => save.expires_in), CASE WHEN is_late THEN since ELSE saved_at END,
        CASE WHEN held.version IS NULL THEN next_valid_from ELSE held.valid_to END,
        CASE WHEN held.version IS NULL THEN next_version ELSE held.superseded_by END,
        CASE WHEN is_alive THEN held.created_at ELSE saved_at END, save.trust
    )
    RETURNING
        m.namespace, m.key, m.value::text, m.text, m.metadata::text, m.version, m.valid_from, m.valid_to,
        m.occurred_at, m.expires_at, m.embedding IS NOT NULL OR m.next_embedding IS NOT NULL, m.owner, m.kind,
        m.thread_id, m.position, m.importance, m.sources, m.similar_to, m.created_at, m.superseded_by, m.trust,
        CASE WHEN m.similar_to = '{{}}' THEN 'saved' ELSE 'linked' END;
    INSERT INTO {schema}.memory_events (owner, namespace, key, version, action)
    VALUES (
        save.owner, save.namespace, save.key, coalesce(last_version, 0) + 1,
        CASE WHEN closed_at IS NULL THEN 'save' ELSE save.closing END
    );
END
$function$;

-- The same condition as an array that is read as one value: every insert reads the conditions of its table anew.
ALTER TABLE {schema}.memory_events DROP CONSTRAINT memory_events_action_check;
ALTER TABLE {schema}.memory_events ADD CONSTRAINT memory_events_action_check CHECK (action = ANY (
    '{{save,update,delete,erase,merge,supersede,revert,forget,consolidate,decay,erase_all,hold,release,export,'
    'quarantine,let_through,reject,drop_keys,rotate_key}}'
));

-- The words of a text are found once. Of two generated columns neither can be made of the other.
ALTER TABLE {schema}.memories ALTER COLUMN tsv DROP EXPRESSION, ALTER COLUMN length DROP EXPRESSION;

CREATE FUNCTION {schema}.index_text() RETURNS trigger
LANGUAGE plpgsql AS $function$
BEGIN
    NEW.tsv := to_tsvector('pg_catalog.english', NEW.text);
    NEW.length := length(NEW.tsv);
    RETURN NEW;
END
$function$;

CREATE TRIGGER index_text BEFORE INSERT OR UPDATE OF text ON {schema}.memories
    FOR EACH ROW EXECUTE FUNCTION {schema}.index_text();
