-- Trims from the stream what the journal has.
--
-- KEYS: the store's
-- ARGV: 1 guard  2 first generation to keep
-- Returns: {"ok", 0}.
redis.call("XTRIM", events, "MINID", ARGV[2])
return { "ok", 0 }
