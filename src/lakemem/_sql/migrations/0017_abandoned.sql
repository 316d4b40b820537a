-- An owner of whom nothing queued could be begun is left alone for a while, but not what a worker of theirs has left.
CREATE OR REPLACE FUNCTION {schema}.has_due(takes_over boolean, besides text[]) RETURNS boolean
LANGUAGE plpgsql AS $function$
BEGIN
    PERFORM set_config('lakemem.owner', 'runs', true);
    RETURN EXISTS (
        SELECT FROM {schema}.runs AS r
        WHERE r.status = 'queued' AND r.owner <> ALL (has_due.besides)
            OR r.status = 'in_progress' AND has_due.takes_over
    );
END
$function$;
