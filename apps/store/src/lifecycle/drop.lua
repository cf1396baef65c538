-- Forgets a segment of which nothing is in use, before its file goes.
--
-- KEYS: the store's
-- ARGV: 1 guard  2 segment  3 fence
-- Returns: {"ok", 0}; or {"in_use"}, {"stale_fence"}.
if not fence_holds("compact", ARGV[3]) then return { "stale_fence" } end
if tonumber(redis.call("HGET", segments, ARGV[2]) or 0) > 0 then return { "in_use" } end
redis.call("HDEL", segments, ARGV[2])
return { "ok", 0 }
