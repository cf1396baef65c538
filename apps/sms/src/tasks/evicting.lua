-- Asks for the room of an attempt back, at no cost for its task. One that no node has begun
-- waits again at once. For one that runs the reason is written down, and an event tells
-- whoever has its node's session to stop it; the end that the node reports puts it back.
-- `failure` says why as JSON, `reason` is its code.
-- Returns {"evicted"|"requested"|"again"|"stale"|"missing", attempt}; again: it leaves
-- already, by an earlier wish or with its outputs
local function evict_task(id, attempt, reason, failure)
  local key = task_key(id)
  local record = redis.call('HMGET', key, 's', 'a', 'n', 'j', 'c', 'k', 'nc', 'nm', 'nx', 'g', 'p', 'b', 'cr', 'cm', 'ev', 'r')
  local state, current, node = record[1], record[2], record[3]
  if not state then return {'missing', 0} end
  if attempt ~= current or (state ~= 'assigned' and state ~= 'running') then return {'stale', tonumber(current)} end
  if record[13] or record[14] or record[15] then return {'again', tonumber(current)} end
  if state == 'running' then
    local seq, field, line = emit('task.evict_requested', id, record[4], node, current, 'running', 'running', reason, '-')
    redis.call('HSET', key, 'ev', failure, 'q', seq, field, line)
    return {'requested', tonumber(current)}
  end
  release(node, id, tonumber(record[7]), tonumber(record[8]), record[9], record[4], record[10])
  await_node(id, record[5], record[6], 0)
  local seq, field, line = emit('task.state', id, record[4], node, current, state, 'pending', reason, '-')
  redis.call('HSET', key, 's', 'pending', 'f', failure, 'q', seq, field, line)
  move(id, record[16], state, 'pending')
  job_follows(id, record[4], record[11], record[12], state, 'pending')
  return {'evicted', tonumber(current)}
end
