-- Makes a put visible: checks the conditions, moves the chunks' counts, sets the
-- record, the name, the generation and the event; all or nothing.
-- Doing it again for the same id changes nothing and answers the same.
--
-- KEYS: 1 generation  2 buckets  3 objects  4 chunks  5 aliases  6 doomed  7 events  8 names of the bucket
-- ARGV: 1 bucket  2 key  3 id  4 record with no name  5 locations of its chunks  6 now (ms)
--       7 if_match  8 if_absent ("1" or "")  9 if_generation
-- Returns: {"ok", generation, surplus…} where surplus are the indexes of chunks
--          that were stored already; or {"bucket_not_found"}; or {"precondition", what}.
local generation_key, buckets, objects, chunks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local aliases, doomed, events, names = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local bucket, key, id, now = ARGV[1], ARGV[2], ARGV[3], ARGV[6]

if redis.call("HEXISTS", buckets, bucket) == 0 then return { "bucket_not_found" } end
local member, current, generation = lookup(names, key)
if redis.call("HEXISTS", objects, id) == 1 then
  return { "ok", current == id and generation or 0 }
end
local wrong = condition_fault(objects, current, generation, ARGV[7], ARGV[8], ARGV[9])
if wrong then return { "precondition", wrong } end

local record = parse(ARGV[4])
local answer = { "ok", redis.call("INCR", generation_key) }
for index = 0, #record.chunks / 36 - 1 do
  local hash = string.sub(record.chunks, index * 36 + 1, index * 36 + 32)
  local location = string.sub(ARGV[5], index * 9 + 1, index * 9 + 9)
  local found = use_chunk(chunks, hash)
  if not found then
    redis.call("HSET", chunks, hash, struct.pack(">I4c9", 1, location))
  elseif found ~= location then
    answer[#answer + 1] = index
  end
end
if member then drop_name(names, aliases, objects, doomed, member, current, bucket, key, now) end
add_name(names, aliases, doomed, id, record, bucket, key, answer[2])
redis.call("HSET", objects, id, encode(record))
redis.call("XADD", events, "MAXLEN", "~", 10000, answer[2] .. "-0", "op", "put", "bucket", bucket, "key", key, "id", id)
return answer
