-- Notes where the output of an attempt is. The task's state does not change, so any
-- attempt may say it, at any time and more than once.
-- KEYS: 1 the task's record
-- ARGV: 1 field of the attempt, 2 its value: see seals.ts
-- Returns 1, or 0 if there is no such task
if redis.call('HEXISTS', KEYS[1], 's') == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
