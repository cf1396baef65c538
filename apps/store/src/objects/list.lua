-- One page of a bucket, in the order of the keys' bytes.
--
-- KEYS: the store's; 14 names of the bucket
-- ARGV: 1 bucket  2 prefix  3 delimiter  4 page size  5 where to start (a bound that is included)
--       6 the key that the listing starts behind, or ""; a prefix of it is not behind it
-- Returns: {"ok", next start or "", flat list of (kind, …)}: "o", id, generation, record without
--          chunks under its key here; "p", prefix. Or {"bucket_not_found"}.
local bucket, prefix, delimiter, size = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local after = ARGV[6]
if redis.call("HEXISTS", buckets, bucket) == 0 then return { "bucket_not_found" } end
local start, stop = "-", "+"
if prefix ~= "" then start, stop = "[" .. prefix, "(" .. prefix .. "\255" end
if ARGV[5] ~= "" then start = "[" .. ARGV[5] end

local out, count = {}, 0
local batch = delimiter == "" and size + 1 or 16
while true do
  local members = redis.call("ZRANGE", KEYS[14], start, stop, "BYLEX", "LIMIT", 0, batch)
  local skipped = false
  for _, member in ipairs(members) do
    local key = string.sub(member, 1, -24)
    local common
    if delimiter ~= "" then
      local _, last = string.find(key, delimiter, #prefix + 1, true)
      if last then common = string.sub(key, 1, last) end
    end
    local passed = common and string.sub(after, 1, #common) == common
    if count == size and not passed then return { "ok", key .. "\0", out } end
    if common then
      if not passed then
        out[#out + 1], out[#out + 2] = "p", common
        count = count + 1
      end
      start, skipped = "[" .. common .. "\255", true
      break
    end
    local id = string.sub(member, -22, -7)
    local record = parse(redis.call("HGET", objects, id))
    record.bucket, record.key, record.chunks = bucket, key, ""
    local at = #out
    out[at + 1], out[at + 2] = "o", id
    out[at + 3], out[at + 4] = struct.unpack(">I6", string.sub(member, -6)), encode(record)
    count = count + 1
    start = "[" .. key .. "\1"
  end
  if not skipped then
    if #members < batch then return { "ok", "", out } end
    batch = math.min(batch * 2, 1024)
  else
    batch = 16
  end
end
