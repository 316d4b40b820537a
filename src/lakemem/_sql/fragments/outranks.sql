-- Whether the version `held` was said by somebody to whom this write yields.
(alive AND trust = ANY (%(yields_to)s::text[]))
