-- Makes a bucket.
--
-- KEYS: the store's
-- ARGV: 1 guard  2 bucket  3 now (ms)
-- Returns: {"ok", generation}; or {"bucket_exists"}.
if redis.call("HSETNX", buckets, ARGV[2], ARGV[3]) == 0 then return { "bucket_exists" } end
return { "ok", change("op", "bucket", "bucket", ARGV[2], "now", ARGV[3]) }
