(
    r.status = 'queued' AND r.run_after <= now()
    OR r.status = 'in_progress' AND %(takes_over)s::boolean AND (
        r.leased_until <= now()
        OR r.touched_at < now() - interval '1.5 seconds'
            AND r.worker <> ALL ((SELECT {schema}.connected_workers())::bigint[])
    )
)
