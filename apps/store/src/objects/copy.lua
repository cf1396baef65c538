-- Gives an object another name; with new attributes the copy is an object of
-- its own that shares the chunks. No bytes move.
--
-- KEYS: 1 generation  2 buckets  3 objects  4 chunks  5 aliases  6 doomed  7 events
--       8 names of the new bucket  9 names of the source's bucket
-- ARGV: 1 bucket  2 key  3 source id or ""  4 source bucket  5 source key  6 now (ms)
--       7 if_match  8 if_absent  9 if_generation  10 new id or ""  11 new attributes
-- Returns: {"ok", generation, id, record}; or {"bucket_not_found"}, {"source_bucket_not_found"},
--          {"object_not_found"}; or {"precondition", what}.
local generation_key, buckets, objects, chunks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local aliases, doomed, events, names = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local bucket, key, id, now = ARGV[1], ARGV[2], ARGV[3], ARGV[6]

if redis.call("HEXISTS", buckets, bucket) == 0 then return { "bucket_not_found" } end
if id == "" then
  if redis.call("HEXISTS", buckets, ARGV[4]) == 0 then return { "source_bucket_not_found" } end
  local _, found = lookup(KEYS[9], ARGV[5])
  id = found
end
local stored = id and redis.call("HGET", objects, id)
if not stored then return { "object_not_found" } end
local member, current, current_generation = lookup(names, key)
local wrong = condition_fault(objects, current, current_generation, ARGV[7], ARGV[8], ARGV[9])
if wrong then return { "precondition", wrong } end

local generation = redis.call("INCR", generation_key)
local record
if ARGV[10] ~= "" then
  id = ARGV[10]
  record = parse(stored)
  record.names, record.flags, record.attributes = 0, 0, ARGV[11]
  for at = 1, #record.chunks, 36 do use_chunk(chunks, string.sub(record.chunks, at, at + 31)) end
  if member then drop_name(names, aliases, objects, doomed, member, current, bucket, key, now) end
  add_name(names, aliases, doomed, id, record, bucket, key, generation)
elseif current == id then
  redis.call("ZREM", names, member)
  redis.call("ZADD", names, 0, key .. "\0" .. id .. struct.pack(">I6", generation))
  record = parse(stored)
else
  if member then drop_name(names, aliases, objects, doomed, member, current, bucket, key, now) end
  record = parse(stored)
  add_name(names, aliases, doomed, id, record, bucket, key, generation)
end
redis.call("HSET", objects, id, encode(record))
redis.call("XADD", events, "MAXLEN", "~", 10000, generation .. "-0", "op", "copy", "bucket", bucket, "key", key, "id", id)
record.chunks = ""
return { "ok", generation, id, encode(record) }
