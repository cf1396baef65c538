-- Pauses or resumes a job: advance.lua then holds or releases its tasks.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 job, 4 "1" to pause, "" to resume
-- Returns {"ok"|"ended"|"missing"}
local key = job_key(ARGV[3])
local have = redis.call('HMGET', key, 'state', 'finished')
if not have[1] then return {'missing'} end
if have[2] then return {'ended'} end
if ARGV[4] == '1' then
  redis.call('HSET', key, 'paused', 1, 'held', 0)
else
  redis.call('HDEL', key, 'paused', 'held')
end
job_due(ARGV[3], NOW)
return {'ok'}
