-- Stands before submit.lua for tasks that another submits by a hostcall: checks that
-- the parent's attempt is the current one and runs (T3), counts the descendants of the
-- topmost task, and lets a cancel of the parent find its child.
-- ARGV: those of submit.lua, with for each task:
--   +14 the parent or "", +15 its attempt, +16 the topmost task,
--   +17 the job whose keys and values it shares, +18 "1" if it is detached
-- Returns "stale" or "full" if it is refused; else nil and fields of its record.
local function admit_child(at)
  local parent, attempt, root, detached = ARGV[at + 14], ARGV[at + 15], ARGV[at + 16], ARGV[at + 18]
  if parent == '' then return nil, {} end
  local known = redis.call('HMGET', task_key(parent), 's', 'a', 'ch')
  if known[1] ~= 'running' or known[2] ~= attempt then return 'stale' end
  local idempotency = ARGV[at + 12]
  if idempotency == '' or redis.call('EXISTS', idempotency_key(idempotency)) == 0 then
    if tonumber(redis.call('HGET', task_key(root), 'dc') or 0) >= MOST_DESCENDANTS then return 'full' end
    redis.call('HINCRBY', task_key(root), 'dc', 1)
    if detached ~= '1' then
      redis.call('HSET', task_key(parent), 'ch', (known[3] and known[3] .. ' ' or '') .. ARGV[at])
    end
  end
  return nil, {'pa', parent, 'pt', attempt, 'ro', root, 'kj', ARGV[at + 17], 'dt', detached}
end
