-- Removes an empty bucket.
--
-- KEYS: the store's; 14 names of the bucket
-- ARGV: 1 guard  2 bucket
-- Returns: {"ok", generation}; or {"bucket_not_found"}, {"bucket_not_empty"}.
if redis.call("HEXISTS", buckets, ARGV[2]) == 0 then return { "bucket_not_found" } end
if redis.call("ZCARD", KEYS[14]) > 0 then return { "bucket_not_empty" } end
redis.call("HDEL", buckets, ARGV[2])
redis.call("HDEL", usage, ARGV[2])
return { "ok", change("op", "unbucket", "bucket", ARGV[2]) }
