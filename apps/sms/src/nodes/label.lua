-- Sets and removes labels of a node over its own. A label that the node itself has is
-- hidden by its removal until it is set again.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 node, 4 most that may be kept, 5 number to set, then
--       pairs of name and value, then names to remove
-- Returns {"ok"|"missing"|"too_many"}; too_many: nothing was changed
local key = node_key(ARGV[3])
local record = redis.call('HMGET', key, 'st', 'doc')
if not record[1] then return {'missing'} end
local own, kept, count = cjson.decode(record[2])['labels'], {}, 0
local flat = redis.call('HGETALL', key)
for at = 1, #flat, 2 do
  local name = string.match(flat[at], '^lb:(.+)$')
  if name then kept[name] = flat[at + 1] end
end
local behind = 6 + 2 * tonumber(ARGV[5])
for at = 6, behind - 1, 2 do kept[ARGV[at]] = '=' .. ARGV[at + 1] end
for at = behind, #ARGV do kept[ARGV[at]] = own[ARGV[at]] and '-' or false end
for _, value in pairs(kept) do if value then count = count + 1 end end
if count > tonumber(ARGV[4]) then return {'too_many'} end
for name, value in pairs(kept) do
  if value then redis.call('HSET', key, 'lb:' .. name, value) else redis.call('HDEL', key, 'lb:' .. name) end
end
emit('node.changed', '-', '-', ARGV[3], 0, record[1], record[1], 'labels', '-')
return {'ok'}
