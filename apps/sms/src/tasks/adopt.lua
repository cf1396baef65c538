-- Makes the record of an attempt of which only its node knew: of a task that the node
-- accepted while it was cut off, or whose record was lost with Redis. The attempt runs, or
-- it has ended and what follows from its end is written in the same step.
-- KEYS: 1 seq, 2 the task's record
-- ARGV: 1 now, 2 events kept, 3 id, 4 job, 5 spec, 6 name, 7 runtime, 8 class, 9 rank,
--       10 milli cpu, 11 memory, 12 extras, 13 heeds its job, "", "s" or "a",
--       14 idempotency key or "", 15 its retention in ms, 16 node, 17 attempt,
--       18 submitted at, 19 started at, 20 "running" or the state that follows its end,
--       21 reason of that, 22 not before (for pending), 23 exit code for the event or "",
--       24… pairs of field and value to write
-- Returns {"ok"} or {code} where code is
--   known        its record is there, and the attempt is the node's own
--   behind       its record is there and waits for this attempt
--   stale        its record is there, and the attempt is not the current one
--   no_capacity  it runs, and the node has no room for it by the records
local id, job, class, rank = ARGV[3], ARGV[4], ARGV[8], ARGV[9]
local node, attempt, to, heeds = ARGV[16], ARGV[17], ARGV[20], ARGV[13]

local record = redis.call('HMGET', KEYS[2], 's', 'a', 'n')
if record[1] then
  if record[2] == attempt and record[3] == node and not is_terminal(record[1]) and record[1] ~= 'pending' then
    return {'known'}
  end
  if record[1] == 'pending' and tonumber(record[2]) + 1 == tonumber(attempt) then return {'behind'} end
  return {'stale'}
end
-- What has ended takes no room any more.
if to == 'running' and not reserve(node, id, tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12], job, heeds) then
  return {'no_capacity'}
end
if ARGV[14] ~= '' then redis.call('SET', idempotency_key(ARGV[14]), id, 'NX', 'PX', ARGV[15]) end

local set = {'j', job, 'sp', ARGV[5], 'nn', ARGV[6], 'r', ARGV[7], 'c', class, 'k', rank, 'nc', ARGV[10],
  'nm', ARGV[11], 'nx', ARGV[12], 'ca', ARGV[18], 'aa', ARGV[19], 'sa', ARGV[19], 'a', attempt, 'n', node, 's', to}
local function put(name, value)
  set[#set + 1], set[#set + 2] = name, value
end
local function happens(of, from, state, reason, exit)
  local seq, field, line = emit('task.state', id, job, of == '0' and '-' or node, of, from, state, reason, exit)
  put(field, line)
  return seq
end
local before = tostring(tonumber(attempt) - 1)
happens(before, '-', 'pending', 'adopted', '-')
happens(attempt, 'pending', 'assigned', 'adopted', '-')
local seq = happens(attempt, 'assigned', 'running', 'adopted', '-')
if to ~= 'running' then seq = happens(attempt, 'running', to, ARGV[21], or_dash(ARGV[23])) end
if to == 'pending' then
  await_node(id, class, rank, tonumber(ARGV[22]))
  if tonumber(ARGV[22]) > 0 then put('nb', ARGV[22]) end
elseif to ~= 'running' then
  put('fa', NOW)
end
if heeds ~= '' then put('g', heeds) end
local retention = retention_in(ARGV[5])
if retention then put('rt', retention) end
put('q', seq)
for at = 24, #ARGV do set[#set + 1] = ARGV[at] end
redis.call('HSET', KEYS[2], unpack(set))
redis.call('ZADD', TASKS, 0, id)
move(id, false, to)
job_follows(id, job, nil, nil, 'running', to)
return {'ok'}
