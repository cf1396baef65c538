-- Shared by every script that changes a task or a node. Prepended after the keys
-- and the state machine, with NOW (ms) and KEEP (events kept).
--
-- A task's record is a hash with short fields:
--   s state     a attempt    n node       q seq        hN event N of its history
--   j job       sp spec      r runtime    c class      k rank in its class
--   nc milli cpu needed      nm memory needed          nx extras needed, "gpu=1 fpga=2"
--   ca created  aa assigned  sa started   fa finished  nb not before
--   x exit code sg signal    f failure    u usage      o outputs    fl failures
--   cr cancel requested      cm attempt whose outputs are being committed
--   nf faults of nodes       nn name       g heeds its job: "" not, "s" spread, "a" alone
--   cs session of its node in which it was claimed, see AttemptClaim
--   xu exclusive: not to be started before this, by the clock of Redis
--   rt how long a single task is kept after its end, in ms, if that is not the default
--   pu until when room is made for it by preemption
--   ev why its room was asked back while it ran, as JSON (evicting.lua)
--   lN where the output of attempt N is: see seals.ts
--   p b place in its job and not yet released: see follow.lua
--   pa parent   pt its attempt          ro topmost task        dc its descendants
--   kj job whose keys and values it shares                     dt "1" if detached
--   ch children that are cancelled with it, by a space
-- A node's record: st state, inc incarnation, cc cm cs capacity (milli cpu, memory,
-- slots), uc um us what is reserved of it, cx:NAME ux:NAME the same for extras,
-- hf hu the task its room is held for and until when, ls la losses and the last one,
-- lu until when its lease was renewed, by the clock of Redis,
-- dr it is to drain, dd by when (0: any time), co it is cordoned, lb:NAME a label over its
-- own ("=value", "-" hides it), ut when its usage was last kept, use what it measured,
-- has what it need not fetch.

-- What a script changes again and again is kept here, and written once at its end by
-- settle(): the events and their counter, the room of nodes by id, the state of tasks
-- for the indexes, what is added to others, how many are in each, and the classes whose first task may be another.
local last_seq
local events, rooms, moved, counts, added, unranked = {}, {}, {}, {}, {}, {}

-- Notes an event and returns its seq, and for a task's history the field and the
-- line that hold it, without the ids that its record has. Empty members are "-".
local function emit(kind, task, job, node, attempt, from, to, reason, exit)
  last_seq = (last_seq or tonumber(redis.call('GET', SEQ) or 0)) + 1
  local seq = string.format('%.0f', last_seq)
  local head = NOW .. ' ' .. kind .. ' '
  local tail = ' ' .. node .. ' ' .. attempt .. ' ' .. from .. ' ' .. to .. ' ' .. reason .. ' ' .. exit
  events[#events + 1] = head .. task .. ' ' .. job .. tail
  return last_seq, 'h' .. seq, head .. '- -' .. tail
end

local function or_dash(value)
  if value == false or value == nil or value == '' then return '-' end
  return value
end

-- What pcall caught, as text.
local function trouble(caught)
  return type(caught) == 'table' and caught.err or tostring(caught)
end

-- How long a spec says that its task is kept, in ms; nil if it does not. Few do, so that
-- the others are not read.
local function retention_in(spec)
  if not string.find(spec, '"retentionMs":', 1, true) then return nil end
  return cjson.decode(spec).retentionMs
end

-- "gpu=1 fpga=2" → {gpu=1, fpga=2}
local function extras_of(text)
  local extras = {}
  if text == '' then return extras end
  for name, count in string.gmatch(text or '', '([%w-]+)=(%d+)') do extras[name] = tonumber(count) end
  return extras
end

-- The time by the clock of Redis, which no replica's clock can put forward or back.
local function redis_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A node's lease, of which exclusive_until tells the end.
local function renew_lease(node, incarnation, lease_ms)
  redis.call('SET', lease_key(node), incarnation, 'PX', lease_ms)
  redis.call('ZADD', LEASES, tonumber(NOW) + tonumber(lease_ms), node)
  redis.call('HSET', node_key(node), 'lu', redis_ms() + tonumber(lease_ms))
end

-- What a node itself says of the end of an attempt: the command runs no more.
local told_by_node = {retry = true, node_fault = true, refused = true, node_restarted = true, preempted = true, drained = true}

-- When a task that was taken from a node may start elsewhere, by the clock of Redis: nil,
-- at once, unless it is exclusive and the node may still run it. See lease.ts.
local function exclusive_until(task, node, reason)
  if told_by_node[reason] then return nil end
  local spec = redis.call('HGET', task_key(task), 'sp')
  if not string.find(spec, '"exclusive":true', 1, true) or not cjson.decode(spec).exclusive then return nil end
  local lease = tonumber(redis.call('HGET', node_key(node), 'lu') or 0)
  return math.max(redis_ms(), lease) + EXCLUSIVE_STOP_MS
end

local function room_of(node)
  local room = rooms[node]
  if room then return room end
  local have = redis.call('HMGET', node_key(node), 'st', 'cc', 'cm', 'cs', 'uc', 'um', 'us', 'hf', 'hu', 'co')
  room = {
    known = have[5], ready = have[1] == 'ready' and not have[10],
    cpu = tonumber(have[2]), memory = tonumber(have[3]), slots = tonumber(have[4]),
    used_cpu = tonumber(have[5]), used_memory = tonumber(have[6]), used_slots = tonumber(have[7]),
    held_for = have[8], held_until = tonumber(have[9]),
  }
  rooms[node] = room
  return room
end

local function use(room, cpu, memory, slots)
  room.used_cpu, room.used_memory = room.used_cpu + cpu, room.used_memory + memory
  room.used_slots, room.changed = room.used_slots + slots, true
end

-- Takes what a task needs from a node; false and nothing taken if it does not fit (T4).
local function reserve(node, task, cpu, memory, extras, job, heeds)
  local room = room_of(node)
  if not room.ready then return false end
  if room.held_for and room.held_for ~= task and room.held_until > tonumber(NOW) then return false end
  if heeds == 'a' and redis.call('HEXISTS', job_nodes_key(job), node) == 1 then return false end
  if room.used_cpu + cpu > room.cpu or room.used_memory + memory > room.memory
      or room.used_slots + 1 > room.slots then
    return false
  end
  local key, wanted = node_key(node), extras_of(extras)
  for name, count in pairs(wanted) do
    local extra = redis.call('HMGET', key, 'cx:' .. name, 'ux:' .. name)
    if (tonumber(extra[2] or 0) or 0) + count > (tonumber(extra[1] or 0) or 0) then return false end
  end
  use(room, cpu, memory, 1)
  for name, count in pairs(wanted) do redis.call('HINCRBY', key, 'ux:' .. name, count) end
  if room.held_for == task then
    redis.call('HDEL', key, 'hf', 'hu')
    room.held_for = false
  end
  redis.call('SADD', node_tasks_key(node), task)
  if or_dash(heeds) ~= '-' then redis.call('HINCRBY', job_nodes_key(job), node, 1) end
  return true
end

-- Gives back what a task holds of a node.
local function release(node, task, cpu, memory, extras, job, heeds)
  if redis.call('SREM', node_tasks_key(node), task) == 0 then return end
  if or_dash(heeds) ~= '-' and redis.call('HINCRBY', job_nodes_key(job), node, -1) == 0 then
    redis.call('HDEL', job_nodes_key(job), node)
  end
  local room = room_of(node)
  if not room.known then return end
  use(room, -cpu, -memory, -1)
  for name, count in pairs(extras_of(extras)) do
    redis.call('HINCRBY', node_key(node), 'ux:' .. name, 0 - count)
  end
end

-- There are `change` more tasks of a runtime in a state.
local function tally(runtime, state, change)
  local field = runtime .. ' ' .. state
  counts[field] = (counts[field] or 0) + change
end

-- A task is in another state now, or in its first (`from` is false).
local function move(task, runtime, from, to)
  local known = moved[task]
  if known then known.to = to else moved[task] = {from = from, to = to} end
  if from then tally(runtime, from, -1) end
  tally(runtime, to, 1)
end

-- Calls a command with the members of each list, a thousand at a time.
local function call_with(command, lists)
  for key, list in pairs(lists) do
    for first = 1, #list, 1000 do
      redis.call(command, key, unpack(list, first, math.min(first + 999, #list)))
    end
  end
end

-- Adds to the list of a key in `lists`.
local function add_to(lists, key, ...)
  local list = lists[key]
  if not list then
    list = {}
    lists[key] = list
  end
  for _, value in ipairs({...}) do list[#list + 1] = value end
end

-- Writes what was kept for the end of the script.
local function settle()
  if last_seq then
    -- The events of one script are one entry, under the seq of the last.
    local seq = string.format('%.0f', last_seq)
    local oldest = string.format('%.0f', math.max(0, last_seq - KEEP))
    redis.call('XADD', EVENTS, 'MINID', '~', oldest, seq .. '-0', 'e', table.concat(events, '\n'))
    redis.call('SET', SEQ, seq)
  end
  local left = {}
  for task, states in pairs(moved) do
    if states.from ~= states.to then
      if states.from then add_to(left, tasks_in_key(states.from), task) end
      add_to(added, tasks_in_key(states.to), 0, task)
    end
  end
  call_with('ZREM', left)
  call_with('ZADD', added)
  for field, change in pairs(counts) do
    if change ~= 0 then redis.call('HINCRBY', TASK_COUNTS, field, change) end
  end
  for node, room in pairs(rooms) do
    if room.changed then
      redis.call('HSET', node_key(node), 'uc', room.used_cpu,
        'um', string.format('%.0f', room.used_memory), 'us', room.used_slots)
    end
  end
  for class in pairs(unranked) do
    local head = redis.call('ZRANGE', pending_class_key(class), 0, 0, 'WITHSCORES')
    if head[2] then redis.call('ZADD', PENDING_CLASSES, head[2], class)
    else redis.call('ZREM', PENDING_CLASSES, class) end
  end
end

-- Puts a task among those that wait for a node, or for a time first.
local function await_node(task, class, rank, not_before)
  if not_before > tonumber(NOW) then
    redis.call('ZADD', DELAYED, not_before, task)
  else
    redis.call('ZADD', pending_class_key(class), rank, task)
    unranked[class] = true
  end
end

-- Takes a task from those that wait.
local function no_longer_waits(task, class)
  if redis.call('ZREM', pending_class_key(class), task) == 1 then
    unranked[class] = true
  else
    redis.call('ZREM', DELAYED, task)
  end
end
