-- Says that a chunk lies somewhere else now, if it still lies where it did.
--
-- KEYS: the store's
-- ARGV: 1 guard  2 hash  3 from  4 to  5 size  6 fence
-- Returns: {"ok", generation, or 0 if it lies elsewhere}; or {"stale_fence"}.
local hash, from, to, bytes = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if live and not fence_holds("compact", ARGV[6]) then return { "stale_fence" } end
local entry = redis.call("HGET", chunks, hash)
if not entry then return { "ok", 0 } end
local uses, location = struct.unpack(">I4c9", entry)
if location ~= from then return { "ok", 0 } end
redis.call("HSET", chunks, hash, struct.pack(">I4c9", uses, to))
weigh(from, -bytes)
weigh(to, bytes)
return { "ok", change("op", "move", "hash", hash, "from", from, "to", to, "bytes", ARGV[5]) }
