-- A run is looked for by its id alone where nobody says whose it is. A plan for one owner must not stray to this index:
-- it would meet another's run of the same id, and take longer for it. So the index serves only what repeats its
-- condition, which always holds.
DROP INDEX {schema}.runs_by_id;
CREATE INDEX runs_by_id ON {schema}.runs (run_id) WHERE max_attempts > 0;
