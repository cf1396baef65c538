-- Makes an object of an upload's parts; no bytes move. The upload is over then.
--
-- KEYS: the store's; 14 names of the bucket; 15 names of the uploads; 16 names of the parts
-- ARGV: 1 guard  2 bucket  3 key  4 id  5 record with no name, no size and no chunks  6 now (ms)
--       7 if_match  8 if_absent  9 if_generation  10 bucket of the uploads  11 key of the upload
--       12 fence  13… key of a part in its bucket, its id; for each part
-- Returns: {"ok", last generation, generation of the name, size}; or {"bucket_not_found"},
--          {"upload_not_found"}, {"stale_fence"}, {"part_changed", index}; or {"precondition", what},
--          {"quota", which}.
local names, bucket, key, id, now = KEYS[14], ARGV[2], ARGV[3], ARGV[4], ARGV[6]

if not fence_holds("upload", ARGV[12]) then return { "stale_fence" } end
local entry = redis.call("HGET", buckets, bucket)
if not entry then return { "bucket_not_found" } end
local marker, upload = lookup(KEYS[15], ARGV[11])
if not marker then return { "upload_not_found" } end
local member, current, current_generation = lookup(names, key)
local wrong = condition_fault(current, current_generation, ARGV[7], ARGV[8], ARGV[9])
if wrong then return { "precondition", wrong } end

local record = parse(ARGV[5])
local pieces = {}
for at = 13, #ARGV, 2 do
  local _, part = lookup(KEYS[16], ARGV[at])
  if part ~= ARGV[at + 1] then return { "part_changed", (at - 13) / 2 } end
  local one = parse(redis.call("HGET", objects, part))
  record.size = record.size + one.size
  pieces[#pieces + 1] = one.chunks
end
local over = quota_fault(entry, names, bucket, current, record.size)
if over then return { "quota", over } end
record.chunks = table.concat(pieces)
local locations = {}
each_chunk(record, function(hash) locations[#locations + 1] = use_chunk(hash) end)

local generation = change("op", "put", "bucket", bucket, "key", key, "id", id, "record", encode(record),
  "locations", table.concat(locations), "now", now)
if member then drop_name(names, member, current, bucket, key, now) end
add_name(names, id, record, bucket, key, generation)
save(id, record, now)
drop_name(KEYS[15], marker, upload, ARGV[10], ARGV[11], now)
local last = change("op", "delete", "bucket", ARGV[10], "key", ARGV[11], "now", now)
return { "ok", last, generation, record.size }
