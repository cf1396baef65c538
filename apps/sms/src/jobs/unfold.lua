-- Makes records of up to `count` of a job's tasks that are still as they came with the
-- submit; false if there are none. Every task is pending and blocked, and waits in no
-- class, until it is released.
local function unfold(job, count)
  local folded = redis.call('LPOP', job_folded_key(job), count * 5)
  if not folded then return false end
  local created, needs = redis.call('HGET', job_key(job), 'created'), {}
  local ids, scored = {}, {}
  for at = 1, #folded, 5 do
    local id, place, number, name, spec = unpack(folded, at, at + 4)
    local need = needs[number]
    if not need then
      need = cmsgpack.unpack(redis.call('HGET', job_groups_key(job), 'need' .. number))
      needs[number] = need
    end
    local seq, field, line = emit('task.state', id, job, '-', 0, '-', 'pending', 'submitted', '-')
    redis.call('HSET', task_key(id), 's', 'pending', 'a', 0, 'n', '', 'q', seq, field, line, 'j', job,
      'sp', spec, 'nn', name, 'r', need[1], 'c', need[2], 'k', need[3], 'nc', need[4], 'nm', need[5],
      'nx', need[6], 'ca', created, 'p', place, 'b', need[7])
    if need[8] ~= '' then redis.call('HSET', task_key(id), 'g', need[8]) end
    tally(need[1], 'pending', 1)
    ids[#ids + 1] = id
    scored[#scored + 1], scored[#scored + 2] = 0, id
  end
  redis.call('HINCRBY', job_key(job), 'pending', #ids)
  redis.call('RPUSH', job_tasks_key(job), unpack(ids))
  redis.call('ZADD', TASKS, unpack(scored))
  redis.call('ZADD', tasks_in_key('pending'), unpack(scored))
  return true
end
