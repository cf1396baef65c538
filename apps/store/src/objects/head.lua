-- Finds an object by its name or its id.
--
-- KEYS: the store's; 14 names of the bucket
-- ARGV: 1 bucket  2 key  3 id or ""  4 "1" to have its chunks
-- Returns: {"ok", id, generation, record, refs, location of the chunk if it has just one};
--          or {"bucket_not_found"}, {"object_not_found"}.
local id, generation = ARGV[3], 0
local named = id == ""
if named then
  if redis.call("HEXISTS", buckets, ARGV[1]) == 0 then return { "bucket_not_found" } end
  local _
  _, id, generation = lookup(KEYS[14], ARGV[2])
end
local stored = id and redis.call("HGET", objects, id)
if not stored then return { "object_not_found" } end
local record = parse(stored)
if named then record.bucket, record.key = ARGV[1], ARGV[2] end
local holders = {}
if has_flag(record, FLAG_REFS) then
  for _, member in ipairs(members_of(refs, id, 1000)) do
    holders[#holders + 1] = string.sub(member, 17)
  end
end
local location = ""
if ARGV[4] ~= "1" then
  record.chunks = ""
elseif #record.chunks == 36 then
  local entry = redis.call("HGET", chunks, string.sub(record.chunks, 1, 32))
  location = entry and string.sub(entry, 5) or ""
end
return { "ok", id, generation, encode(record), holders, location }
