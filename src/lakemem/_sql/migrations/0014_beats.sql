-- A worker's signs of life are one statement, whosever runs it has, and so is its look for what is due. Row-level
-- security wants an owner for either: it is set for the transaction of the statement alone.

CREATE FUNCTION {schema}.beat(
    worker bigint, lease_for double precision, owners text[], run_ids text[], attempts integer[]
) RETURNS TABLE (owner text, run_id text, cancel_requested boolean)
LANGUAGE plpgsql AS $function$
#variable_conflict use_column
DECLARE
    one text;
BEGIN
    FOR one IN SELECT DISTINCT given.owner FROM unnest(beat.owners) AS given (owner) LOOP
        PERFORM set_config('lakemem.owner', one, true);
        -- One that is locked is being appended to, and so renewed; to wait for it could end in a deadlock.
        RETURN QUERY WITH held AS MATERIALIZED (
            SELECT r.run_id, r.cancel_requested_at IS NOT NULL AS cancel_requested
            FROM unnest(beat.owners, beat.run_ids, beat.attempts) AS given (owner, run_id, attempt)
            JOIN {schema}.runs AS r ON r.owner = one AND r.run_id = given.run_id AND r.attempt = given.attempt
                AND r.status = 'in_progress'
            WHERE given.owner = one
        ), free AS MATERIALIZED (
            SELECT r.run_id FROM {schema}.runs AS r
            WHERE r.owner = one AND r.run_id = ANY (ARRAY(SELECT held.run_id FROM held)) AND r.status = 'in_progress'
            FOR UPDATE SKIP LOCKED
        ), renewed AS (
            UPDATE {schema}.runs AS r
            SET touched_at = clock_timestamp(), worker = beat.worker,
                leased_until = clock_timestamp() + make_interval(secs => beat.lease_for)
            FROM unnest(beat.owners, beat.run_ids, beat.attempts) AS given (owner, run_id, attempt), free
            WHERE r.owner = one AND given.owner = one AND r.run_id = given.run_id AND r.attempt = given.attempt
                AND r.run_id = free.run_id AND r.status = 'in_progress'
        )
        SELECT one, held.run_id, held.cancel_requested FROM held;
    END LOOP;
END
$function$;

CREATE FUNCTION {schema}.has_due(takes_over boolean, besides text[]) RETURNS boolean
LANGUAGE plpgsql AS $function$
BEGIN
    PERFORM set_config('lakemem.owner', 'runs', true);
    RETURN EXISTS (
        SELECT FROM {schema}.runs AS r
        WHERE r.status IN ('queued', 'in_progress') AND (r.status = 'queued' OR has_due.takes_over)
            AND r.owner <> ALL (has_due.besides)
    );
END
$function$;
