-- Renews a node's lease and stores what it measured.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 node, 4 incarnation, 5 usage (JSON) or "", 6 lease in ms,
--       7 "revive" or "", 8 the usage as kept for an hour, 9 time between two that are kept,
--       10 how many are kept, 11 what it need not fetch (JSON), "" if it did not say
-- Returns {"ok"|"missing"|"stale"|"down"}
local id, incarnation = ARGV[3], ARGV[4]
local record = redis.call('HMGET', node_key(id), 'st', 'inc', 'dr', 'ut')
if not record[1] then return {'missing'} end
if record[2] ~= incarnation then return {'stale'} end
if record[1] == 'down' or record[1] == 'left' then
  if ARGV[7] ~= 'revive' then return {'down'} end
  local to = record[3] and 'draining' or 'ready'
  redis.call('HSET', node_key(id), 'st', to)
  emit('node.state', '-', '-', id, 0, record[1], to, 'returned', '-')
end
redis.call('HSET', node_key(id), 'seen', NOW)
if ARGV[5] ~= '' then
  redis.call('HSET', node_key(id), 'use', ARGV[5])
  if not record[4] or tonumber(NOW) - tonumber(record[4]) >= tonumber(ARGV[9]) then
    local reserved = redis.call('HMGET', node_key(id), 'uc', 'um', 'us')
    redis.call('HSET', node_key(id), 'ut', NOW)
    redis.call('LPUSH', node_usage_key(id), NOW .. ' ' .. ARGV[8] .. ' ' .. table.concat(reserved, ' '))
    redis.call('LTRIM', node_usage_key(id), 0, tonumber(ARGV[10]) - 1)
    redis.call('PEXPIRE', node_usage_key(id), 2 * tonumber(ARGV[9]) * tonumber(ARGV[10]))
  end
end
if ARGV[11] ~= '' then redis.call('HSET', node_key(id), 'has', ARGV[11]) end
renew_lease(id, incarnation, ARGV[6])
return {'ok'}
