-- Functions that the store's scripts share; the text stands before each of them.
-- The layout of a record is described in record.ts. A member of a bucket's
-- sorted set of names is: key, NUL, id (16 bytes), generation (u48). Keys hold
-- no NUL, so members sort as their keys do.

local FLAG_PINNED, FLAG_REFS = 1, 2

local function parse(record)
  local r = {}
  local at
  r.names, r.flags, r.size, r.sha, r.etag, r.bucket, r.key, r.attributes, at =
    struct.unpack(">I4BI8I1c0I1c0I1c0I2c0I2c0", record)
  r.chunks = string.sub(record, at)
  return r
end

local function encode(r)
  return struct.pack(">I4BI8I1c0I1c0I1c0I2c0I2c0",
    r.names, r.flags, r.size, #r.sha, r.sha, #r.etag, r.etag, #r.bucket, r.bucket,
    #r.key, r.key, #r.attributes, r.attributes) .. r.chunks
end

-- The ETag as clients see it.
local function etag_of(r)
  if r.etag ~= "" then return r.etag end
  return (string.gsub(r.sha, ".", function(c) return string.format("%02x", string.byte(c)) end))
end

-- What a key names: member, id and generation; or nil.
local function lookup(names, key)
  local found = redis.call("ZRANGE", names, "[" .. key .. "\0", "(" .. key .. "\1", "BYLEX", "LIMIT", 0, 1)
  local member = found[1]
  if not member then return nil end
  return member, string.sub(member, -22, -7), struct.unpack(">I6", string.sub(member, -6))
end

local function alias(id, bucket, key)
  return id .. bucket .. "\0" .. key
end

-- Points (bucket, key) at an object under a new generation.
local function add_name(names, aliases, doomed, id, r, bucket, key, generation)
  if r.names == 0 then
    r.bucket, r.key = bucket, key
    redis.call("ZREM", doomed, id)
  else
    redis.call("ZADD", aliases, 0, alias(id, bucket, key))
  end
  r.names = r.names + 1
  redis.call("ZADD", names, 0, key .. "\0" .. id .. struct.pack(">I6", generation))
end

-- Takes the name `member` away from an object; one that nothing keeps is doomed.
local function drop_name(names, aliases, objects, doomed, member, id, bucket, key, now)
  redis.call("ZREM", names, member)
  local stored = redis.call("HGET", objects, id)
  if not stored then return end
  local r = parse(stored)
  r.names = r.names - 1
  if r.bucket == bucket and r.key == key then
    r.bucket, r.key = "", ""
    if r.names > 0 then
      local other = redis.call("ZRANGE", aliases, "[" .. id, "[" .. id .. "\255", "BYLEX", "LIMIT", 0, 1)[1]
      redis.call("ZREM", aliases, other)
      local cut = string.find(other, "\0", 17, true)
      r.bucket, r.key = string.sub(other, 17, cut - 1), string.sub(other, cut + 1)
    end
  else
    redis.call("ZREM", aliases, alias(id, bucket, key))
  end
  if r.names == 0 and r.flags == 0 then redis.call("ZADD", doomed, now, id) end
  redis.call("HSET", objects, id, encode(r))
end

-- nil if the conditions hold for what the name points at, else what is wrong.
local function condition_fault(objects, id, generation, if_match, if_absent, if_generation)
  if if_absent == "1" and id then return "exists" end
  if if_generation ~= "" and tonumber(if_generation) ~= (generation or 0) then return "generation" end
  if if_match ~= "" then
    if not id then return "absent" end
    if etag_of(parse(redis.call("HGET", objects, id))) ~= if_match then return "etag" end
  end
  return nil
end

-- Adds one use to a chunk that is there; true if it was.
local function use_chunk(chunks, hash)
  local entry = redis.call("HGET", chunks, hash)
  if not entry then return nil end
  local uses, location = struct.unpack(">I4c9", entry)
  redis.call("HSET", chunks, hash, struct.pack(">I4c9", uses + 1, location))
  return location
end
