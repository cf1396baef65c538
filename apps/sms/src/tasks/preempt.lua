-- Takes the room of attempts on one node for a task that waits and has a higher priority
-- than each of them: all of them or none. The room is kept for it as it comes free.
-- KEYS: 1 seq
-- ARGV: 1 now, 2 events kept, 3 node, 4 the task that waits, 5 until when the room is kept,
--       6 reason, 7 failure (JSON), 8… pairs of task and attempt
-- Returns {"ok"}, or {"stale"} if something is no longer as it was seen
local node, waiting = node_key(ARGV[3]), ARGV[4]
-- A rank is the time of the submit less a head start for the priority: see record.ts.
local function head_start(record) return tonumber(record[1]) - tonumber(record[2]) end

local have = redis.call('HMGET', node, 'st', 'hf', 'hu', 'co')
if have[1] ~= 'ready' or have[4] then return {'stale'} end
local own = redis.call('HMGET', task_key(waiting), 'ca', 'k', 's', 'pu')
-- Another replica may be making room for it elsewhere.
if own[3] ~= 'pending' or (own[4] and tonumber(own[4]) > tonumber(NOW)) then return {'stale'} end
if have[2] and have[2] ~= waiting and tonumber(have[3]) > tonumber(NOW) then
  local kept_for = redis.call('HMGET', task_key(have[2]), 'ca', 'k', 's')
  if kept_for[3] == 'pending' and head_start(kept_for) >= head_start(own) then return {'stale'} end
end
for at = 8, #ARGV, 2 do
  local record = redis.call('HMGET', task_key(ARGV[at]), 'ca', 'k', 's', 'a', 'n', 'cr', 'cm', 'ev')
  local placed = record[3] == 'assigned' or record[3] == 'running'
  if not placed or record[4] ~= ARGV[at + 1] or record[5] ~= ARGV[3] or record[6] or record[7] or record[8] then
    return {'stale'}
  end
  if head_start(record) >= head_start(own) then return {'stale'} end
end
redis.call('HSET', node, 'hf', waiting, 'hu', ARGV[5])
redis.call('HSET', task_key(waiting), 'pu', ARGV[5])
for at = 8, #ARGV, 2 do evict_task(ARGV[at], ARGV[at + 1], ARGV[6], ARGV[7]) end
return {'ok'}
