-- Writes down what became of times of a schedule, unless somebody did before.
-- KEYS: 1 the schedule's record, 2 its queue, 3 set of schedules with a queue
-- ARGV: 1 last time acted upon that must be current, 2 the new one, 3 what happened:
--       submitted (4 job), skipped (4 how many) or queued (4 most that may wait), 5 name
-- Returns 1, or 0 where somebody did before
if redis.call('HGET', KEYS[1], 'lastAt') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'lastAt', ARGV[2])
if ARGV[3] == 'submitted' then
  redis.call('HSET', KEYS[1], 'lastJob', ARGV[4])
  redis.call('HINCRBY', KEYS[1], 'submitted', 1)
elseif ARGV[3] == 'queued' and redis.call('LLEN', KEYS[2]) < tonumber(ARGV[4]) then
  redis.call('RPUSH', KEYS[2], ARGV[2])
  redis.call('SADD', KEYS[3], ARGV[5])
else
  redis.call('HINCRBY', KEYS[1], 'skipped', ARGV[3] == 'queued' and 1 or ARGV[4])
end
return 1
