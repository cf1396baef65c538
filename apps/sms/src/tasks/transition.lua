-- Moves tasks from one state to another. For each it checks the state machine and the
-- attempt, then writes record, indexes, reservation and event, all or nothing
-- (T2, T3, T4, T5), whatever becomes of the others.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, then for each change:
--   +0 id, +1 new state, +2 attempt that must be current or "",
--   +3 node: the target of an assignment, else the node that must hold it, or "",
--   +4 reason, +5 not before (for pending), +6 exit code for the event or "",
--   +7 how many arguments follow: pairs of field and value to write
-- Returns for each change code, attempt, node, state; the state before where code is
--   ok, else the current one. Code is
--   ok
--   missing      there is no such task
--   stale        the attempt is not the current one, or another node holds it
--   again        it is in that state already under this attempt
--   illegal      the state machine does not allow it
--   committing   its outputs are being committed: only success may follow, or the
--                failure of the commit itself (reason outputs_failed)
--   no_capacity  the node has no room or takes no tasks, or the task is exclusive and
--                may still run where it was
--   error        it could not be carried out; node tells why
local function change(at, pairs_end)
  local id, to, attempt, node = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local reason, not_before, exit = ARGV[at + 4], tonumber(ARGV[at + 5]), ARGV[at + 6]

  local key = task_key(id)
  local record = redis.call('HMGET', key, 's', 'a', 'n', 'j', 'c', 'k', 'nc', 'nm', 'nx', 'cm', 'cr', 'g', 'p', 'b', 'xu', 'r')
  local from, current, holder = record[1], record[2], record[3]
  if not from then return 'missing', 0, '', '' end
  if attempt ~= '' and attempt ~= current then return 'stale', tonumber(current), holder, from end
  if to ~= 'assigned' and node ~= '' and node ~= holder then
    return 'stale', tonumber(current), holder, from
  end
  -- Somebody wants it to end: there is no next try.
  if to == 'pending' and record[11] then to = 'cancelled' end
  if from == to then return 'again', tonumber(current), holder, from end
  if not may_follow(from, to) then return 'illegal', tonumber(current), holder, from end
  if record[10] and to ~= 'succeeded' and reason ~= 'outputs_failed' then
    return 'committing', tonumber(current), holder, from
  end

  local cpu, memory, extras = tonumber(record[7]), tonumber(record[8]), record[9]
  -- What the record gets, written at once.
  local set = {'s', to}
  local function put(field, value)
    set[#set + 1], set[#set + 2] = field, value
  end
  if to == 'assigned' then
    if record[15] and tonumber(record[15]) > redis_ms() then
      return 'no_capacity', tonumber(current), node, from
    end
    if not reserve(node, id, cpu, memory, extras, record[4], record[12]) then
      return 'no_capacity', tonumber(current), node, from
    end
    if current ~= '0' then redis.call('HDEL', key, 'sa', 'x', 'sg', 'u', 'nb', 'ev') end
    current, holder = tostring(tonumber(current) + 1), node
    put('a', current)
    put('n', node)
    put('aa', NOW)
  elseif to == 'running' then
    put('sa', NOW)
  elseif from ~= 'pending' then
    release(holder, id, cpu, memory, extras, record[4], record[12])
  end

  if from == 'pending' then no_longer_waits(id, record[5]) end
  if to == 'pending' then
    local waits = from == 'running' and exclusive_until(id, holder, reason)
    if waits then
      put('xu', waits)
      not_before = math.max(not_before, tonumber(NOW) + waits - redis_ms())
    end
    await_node(id, record[5], record[6], not_before)
    if not_before > 0 then put('nb', not_before) end
  elseif to ~= 'assigned' and to ~= 'running' then
    put('fa', NOW)
  end

  local seq, field, line = emit('task.state', id, record[4], or_dash(holder), current, from, to, reason, or_dash(exit))
  put('q', seq)
  put(field, line)
  for pair = at + 8, pairs_end do set[#set + 1] = ARGV[pair] end
  redis.call('HSET', key, unpack(set))
  move(id, record[16], from, to)
  job_follows(id, record[4], record[13], record[14], from, to)
  return 'ok', tonumber(current), holder, from
end

local answers, at = {}, 3
while at <= #ARGV do
  local pairs_end = at + 7 + ARGV[at + 7]
  local ok, code, attempt, node, state = pcall(change, at, pairs_end)
  if not ok then code, attempt, node, state = 'error', 0, trouble(code), '' end
  local count = #answers
  answers[count + 1], answers[count + 2], answers[count + 3], answers[count + 4] = code, attempt, node, state
  at = pairs_end + 1
end
return answers
