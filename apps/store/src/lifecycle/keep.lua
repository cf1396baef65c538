-- Changes what keeps an object beside its names.
--
-- KEYS: the store's
-- ARGV: 1 guard  2 what ("pin", "unpin", "ref" or "unref")  3 id  4 now (ms)  5 holder
--       6 when the reference ends by itself (ms), or "0"  7 most references of one object
-- Returns: {"ok", generation, or 0 if nothing changed}; or {"object_not_found"}, {"too_many"}.
local what, id, holder, ends = ARGV[2], ARGV[3], ARGV[5], tonumber(ARGV[6])
local stored = redis.call("HGET", objects, id)
if not stored then return { "object_not_found" } end
local record = parse(stored)
local member = id .. holder
local held = (what == "ref" or what == "unref") and redis.call("ZSCORE", refs, member)

if what == "pin" or what == "unpin" then
  local on = what == "pin"
  if has_flag(record, FLAG_PINNED) == on then return { "ok", 0 } end
  set_flag(record, FLAG_PINNED, on)
elseif what == "ref" then
  local current = tonumber(redis.call("ZSCORE", expiries, member) or 0)
  if held and current == ends then return { "ok", 0 } end
  local most = tonumber(ARGV[7])
  if not held and #members_of(refs, id, most) >= most then return { "too_many" } end
  redis.call("ZADD", refs, 0, member)
  if ends > 0 then redis.call("ZADD", expiries, ends, member) else redis.call("ZREM", expiries, member) end
  set_flag(record, FLAG_REFS, true)
else
  if not held then return { "ok", 0 } end
  redis.call("ZREM", refs, member)
  redis.call("ZREM", expiries, member)
  set_flag(record, FLAG_REFS, #members_of(refs, id, 1) > 0)
end
save(id, record, ARGV[4])
return { "ok", change("op", what, "id", id, "now", ARGV[4], "holder", holder, "ends", ARGV[6]) }
