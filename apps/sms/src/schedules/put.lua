-- Creates a schedule, or replaces what one of that name does. A new one, and one whose
-- times are others, starts from now: what lies behind is not made up for.
-- KEYS: 1 the schedule's record, 2 set of all names
-- ARGV: 1 now, 2 name, 3 spec, 4 its times as text, 5 most schedules
-- Returns 1, or 0 where there are too many
local times = redis.call('HGET', KEYS[1], 'times')
if not times then
  if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then return 0 end
  redis.call('HSET', KEYS[1], 'created', ARGV[1], 'submitted', 0, 'skipped', 0)
  redis.call('ZADD', KEYS[2], 0, ARGV[2])
end
redis.call('HSET', KEYS[1], 'spec', ARGV[3], 'times', ARGV[4])
if times ~= ARGV[4] then redis.call('HSET', KEYS[1], 'lastAt', ARGV[1]) end
return 1
