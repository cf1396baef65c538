-- True if the attempt of a task is the current one and runs (T3). For every script
-- that changes something on an attempt's behalf; `record` is the key of the task's record.
local function attempt_runs(record, attempt)
  local now = redis.call('HMGET', record, 's', 'a')
  return now[1] == 'running' and now[2] == attempt
end
