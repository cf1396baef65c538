-- Collects an object that nothing has kept since a point in time: its record
-- goes, its chunks lose a use, and blobs without a use are condemned.
--
-- KEYS: the store's
-- ARGV: 1 guard  2 id  3 doomed since (ms) at the latest  4 fence
-- Returns: {"ok", generation, or 0 if something keeps it}; or {"stale_fence"}.
local id = ARGV[2]
if live and not fence_holds("collect", ARGV[4]) then return { "stale_fence" } end
local since = redis.call("ZSCORE", doomed, id)
if not since or (live and tonumber(since) > tonumber(ARGV[3])) then return { "ok", 0 } end
local record = parse(redis.call("HGET", objects, id))
each_chunk(record, release_chunk)
redis.call("HDEL", objects, id)
redis.call("ZREM", doomed, id)
return { "ok", change("op", "collect", "id", id) }
