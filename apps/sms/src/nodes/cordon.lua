-- Lets nothing new onto a node, or takes that back; what it has goes on.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 node, 4 "1" to cordon, "" to take it back
-- Returns {"ok"|"again"|"missing"}
local key = node_key(ARGV[3])
local record = redis.call('HMGET', key, 'st', 'co')
if not record[1] then return {'missing'} end
local on = ARGV[4] == '1'
if on == (record[2] ~= false) then return {'again'} end
if on then redis.call('HSET', key, 'co', 1) else redis.call('HDEL', key, 'co') end
emit('node.changed', '-', '-', ARGV[3], 0, record[1], record[1], on and 'cordon' or 'uncordon', '-')
return {'ok'}
