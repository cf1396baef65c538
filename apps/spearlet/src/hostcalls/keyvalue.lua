-- Reads and changes the keys of a job on behalf of an attempt, which must be the
-- current one (T3). A value is its version (8 bytes) and its bytes; the hash's own
-- counters have names that no key can have: NUL v the last version, NUL b all bytes.
-- KEYS: 1 the task's record, 2 prefix of the jobs' hashes
-- ARGV: 1 attempt, 2 "get"|"set"|"delete"|"increment"|"list", 3 key or prefix, 4 value,
--       step or the key to list behind, 5 version that it must have or "", 6 kept ms,
--       7 most bytes of the job, 8 most keys
-- Returns {"ok", version, value}, {"ok", more, key…} of a list, {"stale"},
--         {"precondition"}, {"full"} or {"type"}
if not attempt_runs(KEYS[1], ARGV[1]) then return {'stale'} end
local own = redis.call('HMGET', KEYS[1], 'kj', 'j')
local hash = KEYS[2] .. (own[1] or own[2])
local what, key = ARGV[2], ARGV[3]
local VERSION, BYTES = '\0v', '\0b'
local page = 1000

if what == 'list' then
  local found = {}
  for _, name in ipairs(redis.call('HKEYS', hash)) do
    if string.sub(name, 1, 1) ~= '\0' and string.sub(name, 1, #key) == key and name > ARGV[4] then
      found[#found + 1] = name
    end
  end
  table.sort(found)
  local answer = {'ok', #found > page and 1 or 0}
  for index = 1, math.min(#found, page) do answer[index + 2] = found[index] end
  return answer
end

local stored = redis.call('HGET', hash, key)
local version, value = 0, nil
if stored then version, value = struct.unpack('>I8', stored), string.sub(stored, 9) end
if what == 'get' then return {'ok', version, value or ''} end
if ARGV[5] ~= '' and tonumber(ARGV[5]) ~= version then return {'precondition'} end

local new
if what == 'set' then new = ARGV[4] end
if what == 'increment' then
  local number = tonumber(value or '0')
  if not number or number ~= math.floor(number) then return {'type'} end
  new = string.format('%.0f', number + tonumber(ARGV[4]))
end
local weight = (new and #new + #key or 0) - (value and #value + #key or 0)
local bytes = tonumber(redis.call('HGET', hash, BYTES) or 0) + weight
if weight > 0 and bytes > tonumber(ARGV[7]) then return {'full'} end
if new and not stored and redis.call('HLEN', hash) - 2 >= tonumber(ARGV[8]) then return {'full'} end
redis.call('HSET', hash, BYTES, bytes)
if new then
  version = redis.call('HINCRBY', hash, VERSION, 1)
  redis.call('HSET', hash, key, struct.pack('>I8', version) .. new)
else
  redis.call('HDEL', hash, key)
  version = 0
end
redis.call('PEXPIRE', hash, ARGV[6])
return {'ok', version, new or ''}
