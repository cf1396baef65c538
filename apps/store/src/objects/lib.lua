-- Functions that the store's scripts share; the text stands before each of them.
--
-- KEYS of every script, in this order: see storeKeys in keys.ts.
-- The layout of a record is described in record.ts. A member of a bucket's
-- sorted set of names is: key, NUL, id (16 bytes), generation (u48). Keys hold
-- no NUL, so members sort as their keys do. A chunk's entry is: uses (u32),
-- location (9 bytes, a kind and eight more). Uses are never 0: an entry that
-- would reach 0 is removed and its blob condemned. A bucket's entry is when it
-- was made, and behind a blank the JSON of its rules if it has some.
local generation_key, buckets, objects, chunks, aliases, doomed, events, refs, expiries, condemned, segments, fences, usage =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12],
  KEYS[13]

local FLAG_PINNED, FLAG_REFS = 1, 2
local IN_SEGMENT = 1

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

local function has_flag(r, flag)
  return math.floor(r.flags / flag) % 2 == 1
end

local function set_flag(r, flag, on)
  if has_flag(r, flag) ~= on then r.flags = r.flags + (on and flag or -flag) end
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
  return member, string.sub(member, -22, -7), (struct.unpack(">I6", string.sub(member, -6)))
end

-- Members that belong to an object in a sorted set whose members start with an id.
local function members_of(set, id, most)
  return redis.call("ZRANGE", set, "[" .. id, "[" .. id .. "\255", "BYLEX", "LIMIT", 0, most)
end

local function alias(id, bucket, key)
  return id .. bucket .. "\0" .. key
end

-- Stores an object's record; one that nothing keeps is doomed from now on.
local function save(id, r, now)
  if r.names == 0 and r.flags == 0 then
    redis.call("ZADD", doomed, "NX", now, id)
  else
    redis.call("ZREM", doomed, id)
  end
  redis.call("HSET", objects, id, encode(r))
end

-- Points (bucket, key) at an object under a new generation.
local function add_name(names, id, r, bucket, key, generation)
  if r.names == 0 then
    r.bucket, r.key = bucket, key
  else
    redis.call("ZADD", aliases, 0, alias(id, bucket, key))
  end
  r.names = r.names + 1
  redis.call("HINCRBY", usage, bucket, r.size)
  redis.call("ZADD", names, 0, key .. "\0" .. id .. struct.pack(">I6", generation))
end

-- Takes the name `member` away from an object.
local function drop_name(names, member, id, bucket, key, now)
  redis.call("ZREM", names, member)
  local stored = redis.call("HGET", objects, id)
  if not stored then return end
  local r = parse(stored)
  redis.call("HINCRBY", usage, bucket, -r.size)
  r.names = r.names - 1
  if r.bucket == bucket and r.key == key then
    r.bucket, r.key = "", ""
    local other = members_of(aliases, id, 1)[1]
    if other then
      redis.call("ZREM", aliases, other)
      local cut = string.find(other, "\0", 17, true)
      r.bucket, r.key = string.sub(other, 17, cut - 1), string.sub(other, cut + 1)
    end
  else
    redis.call("ZREM", aliases, alias(id, bucket, key))
  end
  save(id, r, now)
end

-- nil if the conditions hold for what the name points at, else what is wrong.
local function condition_fault(id, generation, if_match, if_absent, if_generation)
  if if_absent == "1" and id then return "exists" end
  if if_generation ~= "" and tonumber(if_generation) ~= (generation or 0) then return "generation" end
  if if_match ~= "" then
    if not id then return "absent" end
    if etag_of(parse(redis.call("HGET", objects, id))) ~= if_match then return "etag" end
  end
  return nil
end

-- The quota that the bucket with this entry would break if a name pointed at
-- `size` bytes instead of at `current`: "objects" or "bytes"; nil if none.
-- What makes a bucket no larger is never refused.
local function quota_fault(entry, names, bucket, current, size)
  local at = string.find(entry, " ", 1, true)
  if not at then return nil end
  local rules = cjson.decode(string.sub(entry, at + 1))
  if rules.maxObjects and not current and redis.call("ZCARD", names) >= rules.maxObjects then return "objects" end
  if not rules.maxBytes then return nil end
  local stored = current and redis.call("HGET", objects, current)
  local more = size - (stored and parse(stored).size or 0)
  if more > 0 and tonumber(redis.call("HGET", usage, bucket) or 0) + more > rules.maxBytes then return "bytes" end
  return nil
end

-- Counts what of a segment is in use.
local function weigh(location, bytes)
  local kind, segment = struct.unpack(">BI4", location)
  if kind == IN_SEGMENT then redis.call("HINCRBY", segments, segment, bytes) end
end

-- Adds a use of a chunk that is there, and returns its location; nil if it is not.
local function use_chunk(hash)
  local entry = redis.call("HGET", chunks, hash)
  if not entry then return nil end
  local uses, location = struct.unpack(">I4c9", entry)
  redis.call("HSET", chunks, hash, struct.pack(">I4c9", uses + 1, location))
  return location
end

-- Takes a use of a chunk away.
local function release_chunk(hash, bytes)
  local entry = redis.call("HGET", chunks, hash)
  if not entry then return end
  local uses, location = struct.unpack(">I4c9", entry)
  if uses > 1 then
    redis.call("HSET", chunks, hash, struct.pack(">I4c9", uses - 1, location))
    return
  end
  redis.call("HDEL", chunks, hash)
  if string.byte(location) == IN_SEGMENT then
    weigh(location, -bytes)
  else
    redis.call("SADD", condemned, hash .. location)
  end
end

-- Calls visit(hash, bytes, index) for every chunk of a record.
local function each_chunk(r, visit)
  for index = 0, #r.chunks / 36 - 1 do
    local hash, bytes = struct.unpack(">c32I4", r.chunks, index * 36 + 1)
    visit(hash, bytes, index)
  end
end
