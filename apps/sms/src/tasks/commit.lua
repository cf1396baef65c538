-- Makes one attempt the one that commits the task's outputs (T3). From here on only
-- success may follow, by whichever replica publishes them first.
-- KEYS: 1 seq, 2 the task's record
-- ARGV: 1 now, 2 events kept, 3 attempt, 4 node, 5 staged outputs as JSON, 6… pairs of field and value, cm among them
-- Returns {"ok"} or {"missing"|"stale"|"illegal"}
local record = redis.call('HMGET', KEYS[2], 's', 'a', 'n')
if not record[1] then return {'missing'} end
if record[2] ~= ARGV[3] or record[3] ~= ARGV[4] then return {'stale'} end
if record[1] ~= 'running' then return {'illegal'} end
redis.call('HSET', KEYS[2], 'o', ARGV[5], unpack(ARGV, 6))
return {'ok'}
