-- Gives an object another name; with new attributes the copy is an object of
-- its own that shares the chunks. No bytes move.
--
-- KEYS: the store's; 14 names of the new bucket; 15 names of the source's bucket
-- ARGV: 1 guard  2 bucket  3 key  4 source id or ""  5 source bucket  6 source key  7 now (ms)
--       8 if_match  9 if_absent  10 if_generation  11 new id or ""  12 new attributes
-- Returns: {"ok", generation, id, record}; or {"bucket_not_found"}, {"source_bucket_not_found"},
--          {"object_not_found"}; or {"precondition", what}, {"quota", which}.
local names, bucket, key, source, now = KEYS[14], ARGV[2], ARGV[3], ARGV[4], ARGV[7]

local entry = redis.call("HGET", buckets, bucket)
if not entry then return { "bucket_not_found" } end
if source == "" then
  if redis.call("HEXISTS", buckets, ARGV[5]) == 0 then return { "source_bucket_not_found" } end
  local _
  _, source = lookup(KEYS[15], ARGV[6])
end
local found = source and redis.call("HGET", objects, source)
if not found then return { "object_not_found" } end
local member, current, current_generation = lookup(names, key)
local wrong = condition_fault(current, current_generation, ARGV[8], ARGV[9], ARGV[10])
if wrong then return { "precondition", wrong } end
local over = live and quota_fault(entry, names, bucket, current, parse(found).size)
if over then return { "quota", over } end

local id, generation = source, nil
if ARGV[11] == "" then
  generation = change("op", "copy", "bucket", bucket, "key", key, "source", source, "now", now)
else
  id = ARGV[11]
  local record = parse(found)
  record.names, record.flags, record.bucket, record.key, record.attributes = 0, 0, "", "", ARGV[12]
  local locations = {}
  each_chunk(record, function(hash) locations[#locations + 1] = use_chunk(hash) end)
  local encoded = encode(record)
  redis.call("HSET", objects, id, encoded)
  -- To the journal it is a put: it can be replayed when the source is gone.
  generation = change("op", "put", "bucket", bucket, "key", key, "id", id, "record", encoded,
    "locations", table.concat(locations), "now", now)
end
if member then drop_name(names, member, current, bucket, key, now) end
local record = parse(redis.call("HGET", objects, id))
add_name(names, id, record, bucket, key, generation)
save(id, record, now)
record.chunks = ""
return { "ok", generation, id, encode(record) }
