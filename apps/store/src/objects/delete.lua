-- Takes a name away.
--
-- KEYS: 1 generation  2 buckets  3 objects  4 aliases  5 doomed  6 events  7 names of the bucket
-- ARGV: 1 bucket  2 key  3 now (ms)  4 if_match  5 if_absent  6 if_generation
-- Returns: {"ok", 1 if there was a name}; or {"bucket_not_found"}; or {"precondition", what}.
local bucket, key = ARGV[1], ARGV[2]
if redis.call("HEXISTS", KEYS[2], bucket) == 0 then return { "bucket_not_found" } end
local member, id, generation = lookup(KEYS[7], key)
local wrong = condition_fault(KEYS[3], id, generation, ARGV[4], ARGV[5], ARGV[6])
if wrong then return { "precondition", wrong } end
if not member then return { "ok", 0 } end
drop_name(KEYS[7], KEYS[4], KEYS[3], KEYS[5], member, id, bucket, key, ARGV[3])
local next_generation = redis.call("INCR", KEYS[1])
redis.call("XADD", KEYS[6], "MAXLEN", "~", 10000, next_generation .. "-0", "op", "delete", "bucket", bucket, "key", key, "id", id)
return { "ok", 1 }
