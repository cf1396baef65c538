-- Removes single tasks whose retention has passed; those of a job go with it.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 most tasks to remove
-- Returns the number removed
local due = redis.call('ZRANGE', TASKS_EXPIRING, '-inf', NOW, 'BYSCORE', 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZREM', TASKS_EXPIRING, id)
  local record = redis.call('HMGET', task_key(id), 's', 'j', 'r')
  if record[1] then
    emit('task.removed', id, record[2], '-', 0, record[1], '-', 'retention', '-')
    redis.call('ZREM', TASKS, id)
    redis.call('ZREM', tasks_in_key(record[1]), id)
    tally(record[3], record[1], -1)
    redis.call('ZREM', DEAD_LETTERS, id)
    redis.call('DEL', task_key(id))
  end
end
return #due
