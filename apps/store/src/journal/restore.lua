-- Brings an object of a checkpoint back, with no name, reference or pin yet.
--
-- KEYS: the store's
-- ARGV: 1 guard  2 id  3 record  4 locations of its chunks  5 now (ms)
-- Returns: {"ok", 0}.
local id = ARGV[2]
if redis.call("HEXISTS", objects, id) == 1 then return { "ok", 0 } end
local record = parse(ARGV[3])
record.names, record.flags, record.bucket, record.key = 0, 0, "", ""
each_chunk(record, function(hash, bytes, index)
  if not use_chunk(hash) then
    local location = string.sub(ARGV[4], index * 9 + 1, index * 9 + 9)
    redis.call("HSET", chunks, hash, struct.pack(">I4c9", 1, location))
    weigh(location, bytes)
  end
end)
save(id, record, ARGV[5])
return { "ok", 0 }
