-- Shared by every script that changes a task or a node. Prepended after the keys
-- and the state machine; the caller sets NOW (ms) and KEEP (events kept).
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
--   pu until when room is made for it by preemption
--   ev why its room was asked back while it ran, as JSON (evicting.lua)
--   p b place in its job and not yet released: see follow.lua
-- A node's record: st state, inc incarnation, cc cm cs capacity (milli cpu, memory,
-- slots), uc um us what is reserved of it, cx:NAME ux:NAME the same for extras,
-- hf hu the task its room is held for and until when, ls la losses and the last one,
-- lu until when its lease was renewed, by the clock of Redis,
-- dr it is to drain, dd by when (0: any time), co it is cordoned, lb:NAME a label over its
-- own ("=value", "-" hides it), ut when its usage was last kept.

-- Appends an event and returns its seq, and for a task's history the field and the
-- line that hold it, without the ids that its record has. Empty members are "-".
local function emit(kind, task, job, node, attempt, from, to, reason, exit)
  local seq = redis.call('INCR', SEQ)
  local head = NOW .. ' ' .. kind .. ' '
  local tail = ' ' .. node .. ' ' .. attempt .. ' ' .. from .. ' ' .. to .. ' ' .. reason .. ' ' .. exit
  redis.call('XADD', EVENTS, 'MAXLEN', '~', KEEP, seq .. '-0', 'e', head .. task .. ' ' .. job .. tail)
  return seq, 'h' .. seq, head .. '- -' .. tail
end

local function or_dash(value)
  if value == false or value == nil or value == '' then return '-' end
  return value
end

-- What pcall caught, as text.
local function trouble(caught)
  return type(caught) == 'table' and caught.err or tostring(caught)
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

-- Takes what a task needs from a node; false and nothing taken if it does not fit (T4).
local function reserve(node, task, cpu, memory, extras, job, heeds)
  local key = node_key(node)
  local have = redis.call('HMGET', key, 'st', 'cc', 'cm', 'cs', 'uc', 'um', 'us', 'hf', 'hu', 'co')
  if have[1] ~= 'ready' or have[10] then return false end
  if have[8] and have[8] ~= task and tonumber(have[9]) > tonumber(NOW) then return false end
  if heeds == 'a' and redis.call('HEXISTS', job_nodes_key(job), node) == 1 then return false end
  if tonumber(have[5]) + cpu > tonumber(have[2]) or tonumber(have[6]) + memory > tonumber(have[3])
      or tonumber(have[7]) + 1 > tonumber(have[4]) then
    return false
  end
  local wanted = extras_of(extras)
  for name, count in pairs(wanted) do
    local extra = redis.call('HMGET', key, 'cx:' .. name, 'ux:' .. name)
    if (tonumber(extra[2] or 0) or 0) + count > (tonumber(extra[1] or 0) or 0) then return false end
  end
  redis.call('HSET', key, 'uc', tonumber(have[5]) + cpu,
    'um', string.format('%.0f', tonumber(have[6]) + memory), 'us', tonumber(have[7]) + 1)
  for name, count in pairs(wanted) do redis.call('HINCRBY', key, 'ux:' .. name, count) end
  if have[8] == task then redis.call('HDEL', key, 'hf', 'hu') end
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
  local key = node_key(node)
  local have = redis.call('HMGET', key, 'uc', 'um', 'us')
  if not have[1] then return end
  redis.call('HSET', key, 'uc', tonumber(have[1]) - cpu,
    'um', string.format('%.0f', tonumber(have[2]) - memory), 'us', tonumber(have[3]) - 1)
  for name, count in pairs(extras_of(extras)) do redis.call('HINCRBY', key, 'ux:' .. name, 0 - count) end
end

-- Keeps a class among those that wait, by the rank of its first, or takes it out.
local function rank_class(class)
  local head = redis.call('ZRANGE', pending_class_key(class), 0, 0, 'WITHSCORES')
  if head[2] then redis.call('ZADD', PENDING_CLASSES, head[2], class)
  else redis.call('ZREM', PENDING_CLASSES, class) end
end

-- Puts a task among those that wait for a node, or for a time first.
local function await_node(task, class, rank, not_before)
  if not_before > tonumber(NOW) then
    redis.call('ZADD', DELAYED, not_before, task)
  else
    redis.call('ZADD', pending_class_key(class), rank, task)
    rank_class(class)
  end
end

-- Takes a task from those that wait.
local function no_longer_waits(task, class)
  if redis.call('ZREM', pending_class_key(class), task) == 1 then
    rank_class(class)
  else
    redis.call('ZREM', DELAYED, task)
  end
end
