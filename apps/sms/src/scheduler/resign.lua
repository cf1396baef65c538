-- Gives the lead back, if it is still held, so that another need not wait for its end.
-- KEYS: 1 leader
-- ARGV: 1 who leads
-- Returns 1, or 0 if another leads or nobody
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
