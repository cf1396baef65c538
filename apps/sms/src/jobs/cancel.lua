-- Asks a job to end: from here on nothing of it is released, and advance.lua ends its tasks.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 job
-- Returns {"ok"|"ended"|"missing"}
local have = redis.call('HMGET', job_key(ARGV[3]), 'state', 'finished', 'cancel')
if not have[1] then return {'missing'} end
if have[2] then return {'ended'} end
if not have[3] then
  redis.call('HSET', job_key(ARGV[3]), 'cancel', 1)
  redis.call('HSETNX', job_key(ARGV[3]), 'stop', 'cancel')
  job_due(ARGV[3], NOW)
end
return {'ok'}
