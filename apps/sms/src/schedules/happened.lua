-- Writes down what becomes of times of a schedule, unless somebody did before: a time is
-- put into its queue, from which it will be submitted, or passed over.
-- KEYS: 1 the schedule's record, 2 its queue, 3 set of schedules with a queue
-- ARGV: 1 last time settled that must be current, 2 the new one, 3 how many are passed
--       over, 0 to queue the new one, 4 most that may wait, 5 name
-- Returns 1, or 0 where somebody did before
if redis.call('HGET', KEYS[1], 'lastAt') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'lastAt', ARGV[2])
if ARGV[3] == '0' and redis.call('LLEN', KEYS[2]) < tonumber(ARGV[4]) then
  redis.call('RPUSH', KEYS[2], ARGV[2])
  redis.call('SADD', KEYS[3], ARGV[5])
else
  redis.call('HINCRBY', KEYS[1], 'skipped', math.max(1, tonumber(ARGV[3])))
end
return 1
