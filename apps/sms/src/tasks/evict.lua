-- Asks for the room of one attempt back; see evicting.lua.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 id, 4 attempt, 5 reason, 6 failure (JSON)
-- Returns {"evicted"|"requested"|"again"|"stale"|"missing", attempt}
return evict_task(ARGV[3], ARGV[4], ARGV[5], ARGV[6])
