-- Creates a task and, where a node is proposed and has room, assigns it at once.
-- KEYS: 1 seq, 2 the task's record, 3 idempotency key (or the record again if none)
-- ARGV: 1 now, 2 events kept, 3 id, 4 job, 5 spec, 6 name, 7 runtime, 8 class, 9 rank,
--       10 milli cpu, 11 memory, 12 extras, 13 not before, 14 node proposed or "",
--       15 idempotency retention in ms, 0 if there is no key, 16 heeds its job, "", "s" or "a"
-- Returns {"created"|"exists", id, state, attempt, node, seq}
local id, job, class, rank = ARGV[3], ARGV[4], ARGV[8], ARGV[9]
local cpu, memory, extras, not_before = tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12], tonumber(ARGV[13])
local node, idempotency_ms, heeds = ARGV[14], tonumber(ARGV[15]), ARGV[16]

if idempotency_ms > 0 then
  local known = redis.call('GET', KEYS[3])
  if known then return {'exists', known, '', 0, '', 0} end
  redis.call('SET', KEYS[3], id, 'PX', idempotency_ms)
end
if redis.call('EXISTS', KEYS[2]) == 1 then return {'exists', id, '', 0, '', 0} end

local seq, field, line = emit('task.state', id, job, '-', 0, '-', 'pending', 'submitted', '-')
local set = {'j', job, 'sp', ARGV[5], 'nn', ARGV[6], 'r', ARGV[7], 'c', class, 'k', rank,
  'nc', ARGV[10], 'nm', ARGV[11], 'nx', extras, 'ca', NOW, field, line}
local function put(name, value)
  set[#set + 1], set[#set + 2] = name, value
end
redis.call('ZADD', TASKS, 0, id)

local state, attempt = 'pending', 0
-- Nobody of the same class may be passed.
if node ~= '' and not_before <= tonumber(NOW)
    and redis.call('EXISTS', pending_class_key(class)) == 0
    and reserve(node, id, cpu, memory, extras, job, heeds) then
  state, attempt = 'assigned', 1
  seq, field, line = emit('task.state', id, job, node, 1, 'pending', 'assigned', 'placed', '-')
  put(field, line)
  put('aa', NOW)
else
  node = ''
  await_node(id, class, rank, not_before)
end

put('s', state)
put('a', attempt)
put('n', node)
put('q', seq)
if heeds ~= '' then put('g', heeds) end
if not_before > 0 then put('nb', ARGV[13]) end
redis.call('HSET', KEYS[2], unpack(set))
redis.call('ZADD', tasks_in_key(state), 0, id)
return {'created', id, state, attempt, node, seq}
