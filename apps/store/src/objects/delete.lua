-- Takes a name away.
--
-- KEYS: the store's; 14 names of the bucket
-- ARGV: 1 guard  2 bucket  3 key  4 now (ms)  5 if_match  6 if_absent  7 if_generation
-- Returns: {"ok", generation, or 0 if there was no name}; or {"bucket_not_found"};
--          or {"precondition", what}.
local names, bucket, key = KEYS[14], ARGV[2], ARGV[3]
if redis.call("HEXISTS", buckets, bucket) == 0 then return { "bucket_not_found" } end
local member, id, current_generation = lookup(names, key)
local wrong = condition_fault(id, current_generation, ARGV[5], ARGV[6], ARGV[7])
if wrong then return { "precondition", wrong } end
if not member then return { "ok", 0 } end
drop_name(names, member, id, bucket, key, ARGV[4])
return { "ok", change("op", "delete", "bucket", bucket, "key", key, "now", ARGV[4]) }
