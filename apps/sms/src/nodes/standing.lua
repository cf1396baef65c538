-- Changes a node's standing: down (its lease ran out or it was found dead) or left.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 node, 4 new state, 5 incarnation that must be current or "",
--       6 reason, 7 "expired": only if its lease key is gone; else "",
--       8 half-life of losses in ms, 9 epoch of the leader that must be current or ""
-- Returns {"ok"|"again"|"missing"|"stale"|"alive"|"deposed", state before}
local id, to = ARGV[3], ARGV[4]
local record = redis.call('HMGET', node_key(id), 'st', 'inc')
local from = record[1]
if not from then return {'missing', ''} end
if ARGV[9] ~= '' and redis.call('GET', LEADER_EPOCH) ~= ARGV[9] then return {'deposed', from} end
if ARGV[5] ~= '' and ARGV[5] ~= record[2] then return {'stale', from} end
if ARGV[7] == 'expired' and redis.call('EXISTS', lease_key(id)) == 1 then return {'alive', from} end
if to == 'down' or to == 'left' then
  redis.call('DEL', lease_key(id))
  redis.call('ZREM', LEASES, id)
end
if from == to or (to == 'down' and from == 'left') then return {'again', from} end
if to == 'down' then
  local losses = redis.call('HMGET', node_key(id), 'ls', 'la')
  local since = math.max(0, tonumber(NOW) - tonumber(losses[2] or NOW))
  local sum = tonumber(losses[1] or 0) * 2 ^ (-since / tonumber(ARGV[8])) + 1
  redis.call('HSET', node_key(id), 'ls', string.format('%.3f', sum), 'la', NOW)
end
redis.call('HSET', node_key(id), 'st', to)
emit('node.state', '-', '-', id, 0, from, to, ARGV[6], '-')
return {'ok', from}
