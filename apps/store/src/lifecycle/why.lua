-- What keeps an object, or since when nothing does.
--
-- KEYS: the store's
-- ARGV: 1 id
-- Returns: {"ok", record without chunks, doomed since (ms) or "", names…, refs and their ends…}
--          as {…, {bucket, key, …}, {holder, ends or "0", …}}; or {"object_not_found"}.
local id = ARGV[1]
local stored = redis.call("HGET", objects, id)
if not stored then return { "object_not_found" } end
local record = parse(stored)
record.chunks = ""
local names, holders = {}, {}
if record.names > 0 then names = { record.bucket, record.key } end
for _, other in ipairs(members_of(aliases, id, 1000)) do
  local cut = string.find(other, "\0", 17, true)
  names[#names + 1] = string.sub(other, 17, cut - 1)
  names[#names + 1] = string.sub(other, cut + 1)
end
for _, member in ipairs(members_of(refs, id, 1000)) do
  holders[#holders + 1] = string.sub(member, 17)
  holders[#holders + 1] = redis.call("ZSCORE", expiries, member) or "0"
end
return { "ok", encode(record), redis.call("ZSCORE", doomed, id) or "", names, holders }
