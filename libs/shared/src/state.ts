/**
 * The state machine of a task, as data. The Lua scripts, the proto enum, the
 * REST schema, the docs and the property tests derive from this table.
 */
export const taskStates = [
  "pending",
  "assigned",
  "running",
  "succeeded",
  "failed",
  "timed_out",
  "cancelled",
] as const;

export type TaskState = (typeof taskStates)[number];

/** state → states that may follow it. A terminal state has none (T2). */
export const transitions: Readonly<Record<TaskState, readonly TaskState[]>> = {
  pending: ["assigned", "cancelled"],
  assigned: ["running", "pending", "cancelled"],
  running: ["succeeded", "failed", "timed_out", "cancelled", "pending"],
  succeeded: [],
  failed: [],
  timed_out: [],
  cancelled: [],
};

/** True if nothing can follow. */
export function isTerminal(state: TaskState): boolean {
  return transitions[state].length === 0;
}

/** True if an attempt holds capacity on a node. */
export function isPlaced(state: TaskState): boolean {
  return state === "assigned" || state === "running";
}

/**
 * The table for Lua, put before the scripts that need it, as two functions over
 * one string: a script runs for every change, and building tables costs more.
 */
export const transitionsLua = `local FOLLOWS = ' ${taskStates
  .flatMap((from) => transitions[from].map((to) => `${from}>${to}`))
  .join(" ")} '
local function may_follow(from, to)
  return string.find(FOLLOWS, ' ' .. from .. '>' .. to .. ' ', 1, true) ~= nil
end
local function is_terminal(state)
  return string.find(FOLLOWS, ' ' .. state .. '>', 1, true) == nil
end
`;
