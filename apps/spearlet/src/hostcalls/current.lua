-- Whether an attempt is the current one and runs.
-- KEYS: 1 the task's record
-- ARGV: 1 attempt
-- Returns 1 or 0
return attempt_runs(KEYS[1], ARGV[1]) and 1 or 0
