INSERT INTO {schema}.run_events (owner, run_id, sequence_number, attempt, event)
    SELECT %(owner)s, failed.run_id, failed.last_sequence - cardinality(%(failure_events)s::text[]) + last.place,
        failed.attempt,
        json_build_object('type', last.type, 'code', failed.error_code, 'message', failed.error_message, 'param', NULL)
    FROM failed CROSS JOIN unnest(%(failure_events)s::text[]) WITH ORDINALITY AS last (type, place)
