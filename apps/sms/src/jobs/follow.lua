-- What a change of a task means for its job. Part of every script that changes a
-- task, so that a job's counts, its state and what is due for it change in the same
-- step as its tasks (T5), and no crash can fall between the two.
--
-- A job's record is a hash:
--   state  name  labels  spec (JSON)  rerunOf  idempotencyKey
--   created started finished seq   total   and a count for each task state by its name
--   left     tasks that have not ended           blocked  tasks not yet released
--   active   tasks released and not ended        parallelism  most of them, 0: any
--   onFailure  stop or continue                  start deadline  times, 0: none
--   retention  ms after the end                  failure  JSON of the first
--   stop     why all the rest is being ended     stopped  tasks looked at for that
--   cancel   somebody asked for the end
--   paused   nothing is released                 held     tasks looked at for that
-- Its groups (a task of the spec with its replicas) are numbered from 0 in the order
-- of the spec; their hash has, for group N:
--   Nr range in the list of tasks, "first last"  No groups that depend on it, "3 4"
--   Nu tasks that have not succeeded             Nl groups it waits for
--   Nx it can never run
-- and for each kind of need "needK", what tasks of it need. folded is the list of tasks
-- without a record yet; ready and doomed are lists of ranges to release and to cancel.
-- A task's record has
--   p group and index in it, "3 17"              b it was not released yet

-- Something is to be done for a job at a time; nothing that is due earlier is put off.
local function job_due(job, at)
  redis.call('ZADD', JOBS_DUE, 'LT', at, job)
end

local function job_becomes(job, from, to, reason)
  local seq = emit('job.state', '-', job, '-', 0, from, to, reason, '-')
  redis.call('HSET', job_key(job), 'state', to, 'seq', seq)
  redis.call('ZREM', jobs_in_key(from), job)
  redis.call('ZADD', jobs_in_key(to), 0, job)
end

-- All its tasks have ended.
local function job_ends(job)
  local key = job_key(job)
  local have = redis.call('HMGET', key, 'state', 'total', 'succeeded', 'cancel', 'failure', 'retention', 'stop')
  local to = 'succeeded'
  if have[2] ~= have[3] then
    to = (not have[4] and have[5]) and 'failed' or 'cancelled'
  end
  job_becomes(job, have[1], to, have[7] or 'ended')
  redis.call('HSET', key, 'finished', NOW)
  redis.call('DEL', job_groups_key(job), job_ready_key(job), job_doomed_key(job))
  redis.call('ZADD', JOBS_DUE, tonumber(NOW) + tonumber(have[6]), job)
end

-- A task of a group succeeded; true if groups that waited for it became ready.
local function group_gains(job, group)
  local groups, ready = job_groups_key(job), false
  if redis.call('HINCRBY', groups, group .. 'u', -1) > 0 then return false end
  for dependent in string.gmatch(redis.call('HGET', groups, group .. 'o'), '%d+') do
    if redis.call('HINCRBY', groups, dependent .. 'l', -1) == 0 then
      redis.call('RPUSH', job_ready_key(job), redis.call('HGET', groups, dependent .. 'r'))
      ready = true
    end
  end
  return ready
end

-- A task of a group ended otherwise; true if groups that waited for it can never run.
local function group_loses(job, group)
  local groups, doomed = job_groups_key(job), false
  for dependent in string.gmatch(redis.call('HGET', groups, group .. 'o'), '%d+') do
    if redis.call('HSETNX', groups, dependent .. 'x', 1) == 1 then
      redis.call('RPUSH', job_doomed_key(job), redis.call('HGET', groups, dependent .. 'r'))
      doomed = true
    end
  end
  return doomed
end

-- A task went from one state to another. `place` is its p, `blocked` its b; a single
-- task has neither, and all that follows is that it is removed some day.
local function job_follows(task, job, place, blocked, from, to)
  if to == 'failed' or to == 'timed_out' then redis.call('ZADD', DEAD_LETTERS, 0, task) end
  if not place then
    if not is_terminal(to) then return end
    local retention = redis.call('HGET', task_key(task), 'rt') or DEFAULT_RETENTION_MS
    add_to(added, TASKS_EXPIRING, tonumber(NOW) + tonumber(retention), task)
    return
  end
  local key, group = job_key(job), string.match(place, '^%d+')
  redis.call('HINCRBY', key, from, -1)
  redis.call('HINCRBY', key, to, 1)
  if to == 'running' and redis.call('HGET', key, 'state') == 'pending' then
    job_becomes(job, 'pending', 'running', 'started')
    redis.call('HSET', key, 'started', NOW)
  end
  if to == 'pending' and redis.call('HGET', key, 'paused') then
    redis.call('HSET', key, 'held', 0)
    job_due(job, NOW)
  end
  if not is_terminal(to) then return end

  local waiting = tonumber(redis.call('HGET', key, 'blocked'))
  if blocked then
    waiting = redis.call('HINCRBY', key, 'blocked', -1)
  else
    redis.call('HINCRBY', key, 'active', -1)
  end
  local have = redis.call('HMGET', key, 'onFailure', 'parallelism', 'stop')
  local due = waiting > 0 and have[2] ~= '0'
  if to == 'succeeded' then
    due = group_gains(job, group) or due
  else
    if to ~= 'cancelled' then
      redis.call('HSETNX', key, 'failure', '{"code":"task_failed","message":"'
        .. redis.call('HGET', task_key(task), 'nn') .. ' (' .. task .. ') ended as ' .. to .. '"}')
    end
    if have[1] == 'continue' then
      due = group_loses(job, group) or due
    elseif not have[3] then
      redis.call('HSET', key, 'stop', to == 'cancelled' and 'task_cancelled' or 'task_failed')
      due = true
    end
  end
  if redis.call('HINCRBY', key, 'left', -1) == 0 then
    job_ends(job)
  elseif due then
    job_due(job, NOW)
  end
end
