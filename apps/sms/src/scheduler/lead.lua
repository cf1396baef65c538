-- Takes the lead, renews it, or finds that another has it.
-- KEYS: 1 leader, 2 leader's epoch
-- ARGV: 1 who asks, 2 how long it leads from now in ms
-- Returns its epoch, or 0 if another leads
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(redis.call('GET', KEYS[2]))
end
if holder then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('INCR', KEYS[2])
