-- Creates a job with all its tasks, or nothing. The tasks are kept as they came, which
-- takes Redis next to no time however many they are; the job is due at once, and its
-- first steps make records of them (unfold.lua).
-- KEYS: 1 seq, 2 idempotency key (or the job's record if none)
-- ARGV: 1 now, 2 events kept, 3 job, 4 idempotency retention in ms (0: no key),
--       5 number of pairs of the job's record, 6 of groups, 7 of needs, 8 of tasks, then
--       the pairs of field and value
--       for each group:  how many tasks, groups it waits for, "3 4" that depend on it
--       for each need:   runtime, class, rank, milli cpu, memory, extras, delay,
--                        how it heeds its job
--       for each task:   id, group and index ("3 17"), number of its need, name, spec
-- Returns {"created"|"exists", job}
local job, idempotency_ms = ARGV[3], tonumber(ARGV[4])
if idempotency_ms > 0 then
  local known = redis.call('GET', KEYS[2])
  if known then return {'exists', known} end
  redis.call('SET', KEYS[2], job, 'PX', idempotency_ms)
end
local key, groups = job_key(job), job_groups_key(job)
if redis.call('EXISTS', key) == 1 then return {'exists', job} end

local at = 9
local function take()
  at = at + 1
  return ARGV[at - 1]
end

for _ = 1, tonumber(ARGV[5]) do redis.call('HSET', key, take(), take()) end
local total = tonumber(ARGV[8])
local job_seq = emit('job.state', '-', job, '-', 0, '-', 'pending', 'submitted', '-')
redis.call('HSET', key, 'state', 'pending', 'seq', job_seq, 'created', NOW, 'total', total,
  'left', total, 'blocked', total, 'active', 0)
redis.call('ZADD', JOBS, 0, job)
redis.call('ZADD', jobs_in_key('pending'), 0, job)

local first = 0
for group = 0, tonumber(ARGV[6]) - 1 do
  local count, waits, dependents = tonumber(take()), tonumber(take()), take()
  local range = first .. ' ' .. (first + count - 1)
  redis.call('HSET', groups, group .. 'r', range, group .. 'o', dependents, group .. 'u', count, group .. 'l', waits)
  if waits == 0 and count > 0 then redis.call('RPUSH', job_ready_key(job), range) end
  first = first + count
end

for need = 1, tonumber(ARGV[7]) do
  local values = {}
  for index = 1, 8 do values[index] = take() end
  redis.call('HSET', groups, 'need' .. (need - 1), cmsgpack.pack(values))
end
for from = at, #ARGV, 1000 do
  redis.call('RPUSH', job_folded_key(job), unpack(ARGV, from, math.min(from + 999, #ARGV)))
end
job_due(job, NOW)
return {'created', job}
