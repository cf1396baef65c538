-- Asks a task to end; see cancelling.lua.
-- KEYS: 1 seq, 2 the task's record
-- ARGV: 1 now, 2 events kept, 3 id
-- Returns {"cancelled"|"requested"|"terminal"|"missing", node, attempt}
return cancel_task(ARGV[3], 'cancel')
