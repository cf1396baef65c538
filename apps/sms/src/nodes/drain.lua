-- Drains a node or takes that back. The wish stays in the record, so that a node that
-- was away or restarted still drains.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 node, 4 "1" to drain, "" to take it back,
--       5 when what is left is to move, 0: never
-- Returns {"ok"|"missing"|"gone"}; gone: it is down or has left, and can't be drained
local key = node_key(ARGV[3])
local from = redis.call('HGET', key, 'st')
if not from then return {'missing'} end
local gone, to = from == 'down' or from == 'left', ARGV[4] == '1' and 'draining' or 'ready'
if gone and to == 'draining' then return {'gone'} end
if to == 'draining' then redis.call('HSET', key, 'dr', 1, 'dd', ARGV[5])
else redis.call('HDEL', key, 'dr', 'dd') end
if gone or from == to then return {'ok'} end
redis.call('HSET', key, 'st', to)
emit('node.state', '-', '-', ARGV[3], 0, from, to, to == 'draining' and 'drain' or 'undrain', '-')
return {'ok'}
