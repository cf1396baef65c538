-- Moves tasks whose time has come from the delayed to those that wait for a node.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 most tasks to move
-- Returns the number moved
local due = redis.call('ZRANGE', DELAYED, '-inf', NOW, 'BYSCORE', 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZREM', DELAYED, id)
  local record = redis.call('HMGET', task_key(id), 's', 'c', 'k')
  if record[1] == 'pending' then await_node(id, record[2], record[3], 0) end
end
return #due
