-- Trims from the stream what the journal has, and gives what it lacks.
--
-- KEYS: the store's
-- ARGV: 1 guard  2 last generation in the journal  3 most events
-- Returns: {"ok", 0, last generation, events}.
redis.call("XTRIM", events, "MINID", ARGV[2] + 1)
return {
  "ok", 0, tonumber(redis.call("GET", generation_key) or 0),
  redis.call("XRANGE", events, ARGV[2] + 1, "+", "COUNT", ARGV[3]),
}
