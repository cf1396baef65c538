-- One page of a bucket, in the order of the keys' bytes.
--
-- KEYS: the store's; 14 names of the bucket
-- ARGV: 1 bucket  2 prefix  3 delimiter  4 page size  5 where to start (a bound that is included)
--       6 the key that the listing starts behind, or ""; a prefix of it is not behind it
-- Returns: {"ok", next start or "", flat list of (kind, what, record)}: "o", member of the names,
--          record, whose name and chunks count for nothing; "p", prefix, "". Or {"bucket_not_found"}.
local bucket, prefix, delimiter, size = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local after = ARGV[6]
if redis.call("HEXISTS", buckets, bucket) == 0 then return { "bucket_not_found" } end
local start, stop = "-", "+"
if prefix ~= "" then start, stop = "[" .. prefix, "(" .. prefix .. "\255" end
if ARGV[5] ~= "" then start = "[" .. ARGV[5] end

-- A record that is longer than this goes without its chunks: taking them out costs more than they do.
local LONG = 1024

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
        out[#out + 1], out[#out + 2], out[#out + 3] = "p", common, ""
        count = count + 1
      end
      start, skipped = "[" .. common .. "\255", true
      break
    end
    local stored = redis.call("HGET", objects, string.sub(member, -22, -7))
    if #stored > LONG then
      local record = parse(stored)
      record.chunks = ""
      stored = encode(record)
    end
    local at = #out
    out[at + 1], out[at + 2], out[at + 3] = "o", member, stored
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
