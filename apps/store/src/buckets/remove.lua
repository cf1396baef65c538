-- Removes an empty bucket.
--
-- KEYS: 1 buckets  2 names of the bucket
-- ARGV: 1 bucket
-- Returns: "ok", "bucket_not_found" or "bucket_not_empty".
if redis.call("HEXISTS", KEYS[1], ARGV[1]) == 0 then return "bucket_not_found" end
if redis.call("ZCARD", KEYS[2]) > 0 then return "bucket_not_empty" end
redis.call("HDEL", KEYS[1], ARGV[1])
return "ok"
