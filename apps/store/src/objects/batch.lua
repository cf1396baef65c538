-- Stands behind a script that was made the function `one`, with its own KEYS and
-- ARGV: runs it for every call of a batch. A call that fails harms no other.
--
-- KEYS: the store's; 14 the one that all calls share
-- ARGV: 1 guard, or "" for a script that changes nothing  2 arguments of a call  3… call after call
-- Returns: the answers in order; {"failed", message} for a call that failed.
local guard, count = ARGV[1], tonumber(ARGV[2])
local answers = {}
for at = 3, #ARGV, count do
  local args = { unpack(ARGV, at, at + count - 1) }
  if guard ~= "" then table.insert(args, 1, guard) end
  local fine, answer = pcall(one, KEYS, args)
  if not fine then answer = { "failed", type(answer) == "table" and answer.err or tostring(answer) } end
  answers[#answers + 1] = answer
end
return answers
