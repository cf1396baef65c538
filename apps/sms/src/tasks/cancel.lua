-- Asks a task to end. One that no node runs yet is cancelled at once; for one that
-- runs the wish is written down and an event tells whoever has its node's session.
-- KEYS: 1 seq, 2 the task's record
-- ARGV: 1 now, 2 events kept, 3 id
-- Returns {"cancelled"|"requested"|"terminal"|"missing", node, attempt}
local id = ARGV[3]
local record = redis.call('HMGET', KEYS[2], 's', 'a', 'n', 'j', 'c', 'nc', 'nm', 'nx', 'h', 'cr', 'g')
local state, attempt, node = record[1], record[2], record[3]
if not state then return {'missing', '', 0} end
if state == 'running' then
  if not record[10] then
    local seq, line = emit('task.cancel_requested', id, record[4], or_dash(node), attempt, 'running', 'running', 'cancel', '-')
    redis.call('HSET', KEYS[2], 'cr', 1, 'q', seq, 'h', record[9] .. line)
  end
  return {'requested', node, tonumber(attempt)}
end
if not TRANSITIONS[state]['cancelled'] then return {'terminal', node, tonumber(attempt)} end
if state == 'assigned' then
  release(node, id, tonumber(record[6]), tonumber(record[7]), record[8], record[4], record[11])
else
  no_longer_waits(id, record[5])
end
local seq, line = emit('task.state', id, record[4], or_dash(node), attempt, state, 'cancelled', 'cancel', '-')
redis.call('HSET', KEYS[2], 's', 'cancelled', 'cr', 1, 'fa', NOW, 'q', seq, 'h', record[9] .. line)
redis.call('ZREM', tasks_in_key(state), id)
redis.call('ZADD', tasks_in_key('cancelled'), 0, id)
return {'cancelled', node, tonumber(attempt)}
