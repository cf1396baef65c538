-- Keeps a ready node's room for one task that waits: until then no other is placed there.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 node, 4 task, 5 until
-- Returns {"ok"|"taken"|"missing"}; taken: it takes no tasks, or another's hold has not ended
local key = node_key(ARGV[3])
local record = redis.call('HMGET', key, 'st', 'hf', 'hu', 'co')
if not record[1] then return {'missing'} end
if record[1] ~= 'ready' or record[4] then return {'taken'} end
if record[2] and record[2] ~= ARGV[4] and tonumber(record[3]) > tonumber(NOW) then return {'taken'} end
redis.call('HSET', key, 'hf', ARGV[4], 'hu', ARGV[5])
return {'ok'}
