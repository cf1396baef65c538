-- Stands before submit.lua for a task that another submits by a hostcall: checks that
-- the parent's attempt is the current one and runs (T3), counts the descendants of the
-- topmost task, and lets a cancel of the parent find its child.
-- KEYS and ARGV: those of submit.lua, where 17… are these fields and values of the child:
--       17 pa, 18 the parent, 19 pt, 20 its attempt, 21 ro, 22 the topmost task,
--       23 kj, 24 the job whose keys and values it shares, 25 dt, 26 "1" if it is detached
-- Returns {"stale"|"full", "", "", 0, "", 0}, or what submit.lua returns.
local parent_key, root_key = task_key(ARGV[18]), task_key(ARGV[22])
local parent = redis.call('HMGET', parent_key, 's', 'a', 'ch')
if parent[1] ~= 'running' or parent[2] ~= ARGV[20] then return {'stale', '', '', 0, '', 0} end
if tonumber(ARGV[15]) == 0 or redis.call('EXISTS', KEYS[3]) == 0 then
  if tonumber(redis.call('HGET', root_key, 'dc') or 0) >= MOST_DESCENDANTS then
    return {'full', '', '', 0, '', 0}
  end
  redis.call('HINCRBY', root_key, 'dc', 1)
  if ARGV[26] ~= '1' then
    redis.call('HSET', parent_key, 'ch', (parent[3] and parent[3] .. ' ' or '') .. ARGV[3])
  end
end
