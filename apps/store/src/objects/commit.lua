-- Makes a put visible: checks the conditions, moves the chunks' counts, sets the
-- record, the name, the generation and the event; all or nothing.
-- Doing it again for the same id changes nothing and answers the same.
--
-- KEYS: the store's; 14 names of the bucket, 15 record of the task that puts, or 14 again
-- ARGV: 1 guard  2 bucket  3 key  4 id  5 record with no name  6 locations of its chunks
--       7 now (ms)  8 if_match  9 if_absent ("1" or "")  10 if_generation
--       11 attempt that puts, which must be the task's current one and run (T3); or ""
-- Returns: {"ok", generation, surplus…} where surplus are the indexes of chunks
--          that were stored already; or {"bucket_not_found"}; or {"precondition", what}, {"quota", which};
--          or {"stale_attempt"}.
local names, bucket, key, id, now = KEYS[14], ARGV[2], ARGV[3], ARGV[4], ARGV[7]

local entry = redis.call("HGET", buckets, bucket)
if not entry then return { "bucket_not_found" } end
if live and ARGV[11] ~= "" and not attempt_runs(KEYS[15], ARGV[11]) then return { "stale_attempt" } end
local member, current, current_generation = lookup(names, key)
local stored = redis.call("HGET", objects, id)
if stored and live then return { "ok", current == id and current_generation or 0 } end
local wrong = condition_fault(current, current_generation, ARGV[8], ARGV[9], ARGV[10])
if wrong then return { "precondition", wrong } end
local over = live and quota_fault(entry, names, bucket, current, parse(ARGV[5]).size)
if over then return { "quota", over } end

local generation = change("op", "put", "bucket", bucket, "key", key, "id", id, "record", ARGV[5],
  "locations", ARGV[6], "now", now)
local answer = { "ok", generation }
if member then drop_name(names, member, current, bucket, key, now) end
stored = redis.call("HGET", objects, id)
local record = parse(stored or ARGV[5])
if not stored then
  each_chunk(record, function(hash, bytes, index)
    local location = string.sub(ARGV[6], index * 9 + 1, index * 9 + 9)
    local found = use_chunk(hash)
    if not found then
      redis.call("HSET", chunks, hash, struct.pack(">I4c9", 1, location))
      weigh(location, bytes)
    elseif found ~= location then
      answer[#answer + 1] = index
    end
  end)
end
add_name(names, id, record, bucket, key, generation)
save(id, record, now)
return answer
