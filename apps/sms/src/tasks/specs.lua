-- Reads the specs of tasks.
-- KEYS: 1 seq
-- ARGV: ids
-- Returns for each its spec, or "" if there is no such task
local specs = {}
for position, id in ipairs(ARGV) do specs[position] = redis.call('HGET', task_key(id), 'sp') or '' end
return specs
