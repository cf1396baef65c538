-- Makes a node known, or known again. What its tasks hold of it stays reserved.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 node, 4 incarnation, 5 milli cpu, 6 memory, 7 slots,
--       8 extras, 9 document (JSON), 10 lease in ms
-- Returns {"new"|"same"|"restarted"}
local id, incarnation = ARGV[3], ARGV[4]
local record = redis.call('HMGET', node_key(id), 'st', 'inc', 'dr', 'doc')
local before = record[1]
redis.call('HSET', node_key(id), 'inc', incarnation, 'cc', ARGV[5], 'cm', ARGV[6], 'cs', ARGV[7],
  'doc', ARGV[9], 'seen', NOW)
for _, field in ipairs(redis.call('HKEYS', node_key(id))) do
  if string.sub(field, 1, 3) == 'cx:' then redis.call('HDEL', node_key(id), field) end
end
for name, count in pairs(extras_of(ARGV[8])) do redis.call('HSET', node_key(id), 'cx:' .. name, count) end
if not before then
  redis.call('HSET', node_key(id), 'uc', 0, 'um', 0, 'us', 0, 'reg', NOW)
  redis.call('ZADD', NODES, 0, id)
end
renew_lease(id, incarnation, ARGV[10])
local same = before and record[2] == incarnation
-- A node that was given up stays so until its session's hello has been settled.
if not before or before == 'left' then
  local to = record[3] and 'draining' or 'ready'
  redis.call('HSET', node_key(id), 'st', to)
  emit('node.state', '-', '-', id, 0, or_dash(before), to, 'registered', '-')
elseif record[4] ~= ARGV[9] then
  emit('node.changed', '-', '-', id, 0, before, before, 'registered', '-')
end
if not before then return {'new'} end
if same then return {'same'} end
return {'restarted'}
