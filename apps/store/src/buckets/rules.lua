-- Gives a bucket other rules, or none.
--
-- KEYS: the store's
-- ARGV: 1 guard  2 bucket  3 rules as JSON, or ""
-- Returns: {"ok", generation}; or {"bucket_not_found"}.
local entry = redis.call("HGET", buckets, ARGV[2])
if not entry then return { "bucket_not_found" } end
local made = string.match(entry, "^%d+")
redis.call("HSET", buckets, ARGV[2], ARGV[3] == "" and made or made .. " " .. ARGV[3])
return { "ok", change("op", "rules", "bucket", ARGV[2], "rules", ARGV[3]) }
