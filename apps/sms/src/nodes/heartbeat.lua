-- Renews a node's lease and stores what it measured.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 node, 4 incarnation, 5 usage (JSON), 6 lease in ms, 7 "revive" or ""
-- Returns {"ok"|"missing"|"stale"|"down"}
local id, incarnation = ARGV[3], ARGV[4]
local record = redis.call('HMGET', node_key(id), 'st', 'inc')
if not record[1] then return {'missing'} end
if record[2] ~= incarnation then return {'stale'} end
if record[1] == 'down' or record[1] == 'left' then
  if ARGV[7] ~= 'revive' then return {'down'} end
  redis.call('HSET', node_key(id), 'st', 'ready')
  emit('node.state', '-', '-', id, 0, record[1], 'ready', 'returned', '-')
end
redis.call('HSET', node_key(id), 'seen', NOW)
if ARGV[5] ~= '' then redis.call('HSET', node_key(id), 'use', ARGV[5]) end
renew_lease(id, incarnation, ARGV[6])
return {'ok'}
