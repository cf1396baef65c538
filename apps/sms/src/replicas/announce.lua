-- Says that a replica of SMS is there, finds the others, and sees whether Redis still has
-- the data that the replica has seen: if the id of the cluster's life is gone, all is.
-- KEYS: 1 seq, 2 id of the cluster's life, 3 replicas by when they were last heard of
-- ARGV: 1 now, 2 events kept, 3 address of the replica, 4 how long it is
--       believed to be there in ms, 5 id of the life that it has seen or "", 6 id of a new life
-- Returns {id of the life, address of each replica that is there…}
local life = redis.call('GET', KEYS[2])
if not life then
  life = ARGV[6]
  redis.call('SET', KEYS[2], life)
  if ARGV[5] ~= '' then emit('cluster.data_lost', '-', '-', '-', 0, '-', '-', 'data_lost', '-') end
end
local now = redis_ms()
redis.call('ZADD', KEYS[3], now, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - tonumber(ARGV[4]))
return {life, unpack(redis.call('ZRANGE', KEYS[3], 0, -1))}
