r.run_id, r.thread_id, r.owner, r.status, r.attempt, r.request, r.output, r.error_code, r.error_message,
    r.metadata::text, r.created_at, r.started_at, r.completed_at, r.deadline, r.last_sequence, r.background, r.kind,
    r.previous_run_id, r.question, r.answer, r.cancel_requested_at IS NOT NULL, r.max_attempts,
    r.attempt - r.uncounted, r.asked_by
