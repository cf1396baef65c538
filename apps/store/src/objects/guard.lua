-- Stands behind lib.lua and before every script that changes something.
--
-- ARGV[1]: "e" and the epoch of the store that asks, or the generation to take
-- in a replay of the journal. A store whose epoch is over changes nothing: the
-- next one has begun with the same data. A replay writes no event.
local live = string.sub(ARGV[1], 1, 1) == "e"
if live and redis.call("HGET", fences, "epoch") ~= string.sub(ARGV[1], 2) then return { "stale_epoch" } end

-- Takes the next generation and writes what happens under it: names and values,
-- each with its size before it, as the journal keeps them.
local function change(...)
  if not live then
    redis.call("SET", generation_key, ARGV[1])
    return tonumber(ARGV[1])
  end
  local generation = redis.call("INCR", generation_key)
  local packed = {}
  for index, value in ipairs({ ... }) do packed[index] = struct.pack(">I4", #value) .. value end
  redis.call("XADD", events, generation .. "-0", "e", table.concat(packed))
  return generation
end

-- True if no later holder of a lock has been here; remembers the latest.
local function fence_holds(what, fence)
  local seen = tonumber(redis.call("HGET", fences, what) or 0)
  if tonumber(fence) < seen then return false end
  redis.call("HSET", fences, what, fence)
  return true
end

