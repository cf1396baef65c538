-- Creates tasks and, where a node is proposed and has room, assigns them at once. Each
-- is created whole or not at all, whatever becomes of the others.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 idempotency retention in ms, then for each task:
--   +0 id, +1 job, +2 spec, +3 name, +4 runtime, +5 class, +6 rank, +7 milli cpu, +8 memory,
--   +9 extras, +10 not before, +11 node proposed or "", +12 idempotency key or "",
--   +13 heeds its job, "", "s" or "a", +14…18 see child.lua
-- Returns for each task "created"|"exists"|"stale"|"full"|"error", id or what went wrong, state, attempt,
--   node, seq
local function submit(at)
  local id, job, class, rank = ARGV[at], ARGV[at + 1], ARGV[at + 5], ARGV[at + 6]
  local cpu, memory, extras = tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8]), ARGV[at + 9]
  local not_before, node = tonumber(ARGV[at + 10]), ARGV[at + 11]
  local idempotency, heeds = ARGV[at + 12], ARGV[at + 13]

  local refused, fields = admit_child(at)
  if refused then return refused, '', '', 0, '', 0 end
  if idempotency ~= '' then
    local known = redis.call('GET', idempotency_key(idempotency))
    if known then return 'exists', known, '', 0, '', 0 end
    redis.call('SET', idempotency_key(idempotency), id, 'PX', ARGV[3])
  end
  -- The index has every record, so that it tells of one more cheaply than the record.
  if redis.call('ZADD', TASKS, 'NX', 0, id) == 0 then return 'exists', id, '', 0, '', 0 end

  local seq, field, line = emit('task.state', id, job, '-', 0, '-', 'pending', 'submitted', '-')
  local set = {'j', job, 'sp', ARGV[at + 2], 'nn', ARGV[at + 3], 'r', ARGV[at + 4], 'c', class, 'k', rank,
    'nc', ARGV[at + 7], 'nm', ARGV[at + 8], 'nx', extras, 'ca', NOW, field, line}
  local function put(name, value)
    set[#set + 1], set[#set + 2] = name, value
  end

  for index = 1, #fields do set[#set + 1] = fields[index] end

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
  local retention = retention_in(ARGV[at + 2])
  if retention then put('rt', retention) end
  if not_before > 0 then put('nb', ARGV[at + 10]) end
  redis.call('HSET', task_key(id), unpack(set))
  move(id, ARGV[at + 4], false, state)
  return 'created', id, state, attempt, node, seq
end

local answers = {}
for at = 4, #ARGV, 19 do
  local ok, code, id, state, attempt, node, seq = pcall(submit, at)
  if not ok then code, id, state, attempt, node, seq = 'error', trouble(code), '', 0, '', 0 end
  local count = #answers
  answers[count + 1], answers[count + 2], answers[count + 3] = code, id, state
  answers[count + 4], answers[count + 5], answers[count + 6] = attempt, node, seq
end
return answers
