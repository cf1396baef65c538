-- Takes the first time out of a schedule's queue: it became a job, or can't become one.
-- KEYS: 1 the schedule's record, 2 its queue, 3 set of schedules with a queue
-- ARGV: 1 the time, 2 job or "", 3 name
-- Returns 1, or 0 where somebody did before
if redis.call('LINDEX', KEYS[2], 0) ~= ARGV[1] then return 0 end
redis.call('LPOP', KEYS[2])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SREM', KEYS[3], ARGV[3]) end
if ARGV[2] == '' then
  redis.call('HINCRBY', KEYS[1], 'skipped', 1)
else
  redis.call('HSET', KEYS[1], 'lastJob', ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'submitted', 1)
end
return 1
