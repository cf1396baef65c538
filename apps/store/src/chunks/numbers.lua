-- Takes numbers for segments that nobody has or had.
--
-- KEYS: the store's
-- ARGV: 1 guard  2 how many  3 a number that all shall be greater than
-- Returns: {"ok", 0, the first of them}.
local first = math.max(tonumber(redis.call("HGET", fences, "segment") or 0), tonumber(ARGV[3])) + 1
redis.call("HSET", fences, "segment", first + tonumber(ARGV[2]) - 1)
return { "ok", 0, first }
