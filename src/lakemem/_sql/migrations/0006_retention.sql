-- What prunes the history of a thread, and what sweeps through all of them.

-- Removes the values that no checkpoint of a thread has any more, and the segments that no value consists of. It is
-- called once the thread's row is locked, and sees what was deleted before; it runs with the rights, and behind the
-- row-level security, of its caller.
CREATE FUNCTION {schema}.remove_unused_values(of_owner text, of_thread text) RETURNS void
LANGUAGE plpgsql AS $function$
BEGIN
    DELETE FROM {schema}.checkpoint_blobs AS b
    WHERE b.owner = of_owner AND b.thread_id = of_thread AND NOT EXISTS (
        SELECT
        FROM (
            SELECT DISTINCT c.checkpoint_ns, v.key AS channel, v.value AS version
            FROM {schema}.checkpoints AS c CROSS JOIN LATERAL jsonb_each_text(c.channel_versions) AS v
            WHERE c.owner = of_owner AND c.thread_id = of_thread
        ) AS used
        WHERE used.checkpoint_ns = b.checkpoint_ns AND used.channel = b.channel AND used.version = b.version
    );
    DELETE FROM {schema}.checkpoint_segments AS s
    WHERE s.owner = of_owner AND s.thread_id = of_thread AND NOT EXISTS (
        SELECT
        FROM (
            SELECT b.checkpoint_ns, b.channel, range_agg(int8range(b.spans[place], b.spans[place + 1], '[]')) AS positions
            FROM {schema}.checkpoint_blobs AS b CROSS JOIN LATERAL generate_series(1, cardinality(b.spans), 2) AS place
            WHERE b.owner = of_owner AND b.thread_id = of_thread
            GROUP BY b.checkpoint_ns, b.channel
        ) AS used
        WHERE used.checkpoint_ns = s.checkpoint_ns AND used.channel = s.channel
            AND used.positions && int8range(s.position, s.position + s.length)
    );
END
$function$;

-- As the owner 'sweep', which nobody is, a sweep may see which threads there are, and whose writes are marked as
-- applied. What it does with them it does as their owners.
CREATE POLICY sweep ON {schema}.threads FOR SELECT
    USING ((SELECT current_setting('lakemem.owner', true)) = 'sweep');
CREATE POLICY sweep ON {schema}.applied_writes FOR SELECT
    USING ((SELECT current_setting('lakemem.owner', true)) = 'sweep');
