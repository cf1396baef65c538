-- Asks a task to end. One that no node runs yet is cancelled at once; for one that
-- runs the wish is written down and an event tells whoever has its node's session.
-- Its children are asked too, and theirs; child.lua bounds how many there are.
-- Returns {"cancelled"|"requested"|"terminal"|"missing", node, attempt}
local function cancel_task(id, reason)
  local key = task_key(id)
  local record = redis.call('HMGET', key, 's', 'a', 'n', 'j', 'c', 'nc', 'nm', 'nx', 'cr', 'g', 'p', 'b', 'ch', 'r')
  local state, attempt, node = record[1], record[2], record[3]
  if not state then return {'missing', '', 0} end
  local function cancel_children()
    for child in string.gmatch(record[13] or '', '%S+') do cancel_task(child, 'parent') end
  end
  if state == 'running' then
    if not record[9] then
      local seq, field, line = emit('task.cancel_requested', id, record[4], or_dash(node), attempt, 'running', 'running', reason, '-')
      redis.call('HSET', key, 'cr', 1, 'q', seq, field, line)
    end
    cancel_children()
    return {'requested', node, tonumber(attempt)}
  end
  if not may_follow(state, 'cancelled') then return {'terminal', node, tonumber(attempt)} end
  if state == 'assigned' then
    release(node, id, tonumber(record[6]), tonumber(record[7]), record[8], record[4], record[10])
  else
    no_longer_waits(id, record[5])
  end
  local seq, field, line = emit('task.state', id, record[4], or_dash(node), attempt, state, 'cancelled', reason, '-')
  redis.call('HSET', key, 's', 'cancelled', 'cr', 1, 'fa', NOW, 'q', seq, field, line)
  move(id, record[14], state, 'cancelled')
  job_follows(id, record[4], record[11], record[12], state, 'cancelled')
  cancel_children()
  return {'cancelled', node, tonumber(attempt)}
end
