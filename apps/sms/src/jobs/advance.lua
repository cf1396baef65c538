-- Does a bounded piece of what is due for a job: makes records of its tasks, releases tasks whose dependencies have
-- succeeded, cancels those that can never run, ends the rest of one that is stopped,
-- holds those of one that is paused, removes one whose retention has passed. Idempotent:
-- any replica may call it at any time, several at once.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 job, 4 most tasks to touch
-- Returns {1 if more is due now else 0, number released}
local job, limit = ARGV[3], tonumber(ARGV[4])
local key, list, ready, doomed = job_key(ARGV[3]), job_tasks_key(ARGV[3]), job_ready_key(ARGV[3]), job_doomed_key(ARGV[3])
local have = redis.call('HMGET', key, 'state', 'finished', 'retention', 'deadline', 'start', 'stop', 'stopped',
  'parallelism', 'active', 'paused', 'held', 'labels')
local released, touched = 0, 0
redis.call('ZREM', JOBS_DUE, job)

local function answer(more)
  if more then job_due(job, NOW) end
  return {more and 1 or 0, released}
end

-- Takes up to `count` positions from a list of ranges, first and last of one piece.
local function take_range(ranges, count)
  local range = redis.call('LPOP', ranges)
  if not range then return nil end
  local first, last = string.match(range, '(%d+) (%d+)')
  first, last = tonumber(first), tonumber(last)
  if last - first >= count then
    redis.call('LPUSH', ranges, (first + count) .. ' ' .. last)
    last = first + count - 1
  end
  return first, last
end

-- Removed: the record goes first, then the tasks.
if have[2] and tonumber(have[2]) + tonumber(have[3]) > tonumber(NOW) then
  job_due(job, tonumber(have[2]) + tonumber(have[3]))
  return answer(false)
end
if have[2] then
  emit('job.removed', '-', job, '-', 0, have[1], '-', 'retention', '-')
  redis.call('ZREM', JOBS, job)
  redis.call('ZREM', jobs_in_key(have[1]), job)
  redis.call('DEL', key, job_nodes_key(job))
end
if have[2] or not have[1] then
  for _, id in ipairs(redis.call('LPOP', list, limit) or {}) do
    local task = redis.call('HMGET', task_key(id), 's', 'r')
    redis.call('ZREM', TASKS, id)
    redis.call('ZREM', DEAD_LETTERS, id)
    if task[1] then
      redis.call('ZREM', tasks_in_key(task[1]), id)
      tally(task[2], task[1], -1)
    end
    redis.call('DEL', task_key(id))
  end
  return answer(redis.call('EXISTS', list) == 1)
end

-- Everything else is about tasks that have records.
if unfold(job, limit) then return answer(true) end

local deadline, stop = tonumber(have[4]), have[6]
if deadline > 0 and deadline <= tonumber(NOW) and not stop then
  stop = 'deadline'
  redis.call('HSET', key, 'stop', stop)
  redis.call('HSETNX', key, 'failure', '{"code":"deadline","message":"the job did not end before its deadline"}')
end
if stop then
  local from = tonumber(have[7] or 0)
  local ids = redis.call('LRANGE', list, from, from + limit - 1)
  for _, id in ipairs(ids) do cancel_task(id, stop) end
  redis.call('HSET', key, 'stopped', from + #ids)
  return answer(#ids == limit)
end
if deadline > 0 then job_due(job, deadline) end

while touched < limit do
  local first, last = take_range(doomed, limit - touched)
  if not first then break end
  for _, id in ipairs(redis.call('LRANGE', list, first, last)) do cancel_task(id, 'dependency_failed') end
  touched = touched + last - first + 1
end
if redis.call('HEXISTS', key, 'finished') == 1 then return answer(false) end

if have[10] then
  local from = tonumber(have[11] or 0)
  local ids = redis.call('LRANGE', list, from, from + limit - 1)
  for position, id in ipairs(ids) do
    local record = redis.call('HMGET', task_key(id), 's', 'b', 'c', 'nb')
    if record[1] == 'pending' and not record[2] then
      no_longer_waits(id, record[3])
      redis.call('HSET', task_key(id), 'b', math.max(0, tonumber(record[4] or 0) - tonumber(NOW)))
      redis.call('HINCRBY', key, 'blocked', 1)
      redis.call('HINCRBY', key, 'active', -1)
      local at = from + position - 1
      redis.call('RPUSH', ready, at .. ' ' .. at)
    end
  end
  redis.call('HSET', key, 'held', from + #ids)
  return answer(#ids == limit or redis.call('EXISTS', doomed) == 1)
end

local start = tonumber(have[5])
if start > tonumber(NOW) then
  job_due(job, start)
  return answer(redis.call('EXISTS', doomed) == 1)
end

local active, room = tonumber(have[9]), limit - touched
if have[8] ~= '0' then room = math.min(room, tonumber(have[8]) - active) end
while room > 0 do
  local first, last = take_range(ready, room)
  if not first then break end
  for _, id in ipairs(redis.call('LRANGE', list, first, last)) do
    local record = redis.call('HMGET', task_key(id), 's', 'b', 'c', 'k')
    -- One that was cancelled alone takes no room.
    if record[1] == 'pending' and record[2] then
      local not_before = 0
      if record[2] ~= '0' then
        not_before = tonumber(NOW) + tonumber(record[2])
        redis.call('HSET', task_key(id), 'nb', not_before)
      end
      redis.call('HDEL', task_key(id), 'b')
      await_node(id, record[3], record[4], not_before)
      released, room = released + 1, room - 1
    end
  end
end
if released > 0 then
  redis.call('HINCRBY', key, 'active', released)
  redis.call('HINCRBY', key, 'blocked', -released)
end
local full = have[8] ~= '0' and active + released >= tonumber(have[8])
return answer(redis.call('EXISTS', doomed) == 1 or (not full and redis.call('EXISTS', ready) == 1))
