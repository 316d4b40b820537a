-- Whether a version has not expired, by a clock that goes on while a statement waits.
(expires_at IS NULL OR expires_at > clock_timestamp())
