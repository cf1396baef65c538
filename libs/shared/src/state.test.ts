import { expect, test } from "bun:test";
import fc from "fast-check";
import { Redis } from "ioredis";
import {
  isPlaced,
  isTerminal,
  taskStates,
  transitions,
  transitionsLua,
  type TaskState,
} from "./state.ts";

test("a terminal state has no successor, and every other can reach one (T2)", () => {
  const reaches = (from: TaskState, seen = new Set([from])): boolean =>
    isTerminal(from) ||
    transitions[from].some((next) => !seen.has(next) && reaches(next, new Set([...seen, next])));
  for (const state of taskStates) expect(reaches(state)).toBe(true);
  expect(taskStates.filter(isTerminal)).toEqual(["succeeded", "failed", "timed_out", "cancelled"]);
});

test("any walk ends in at most one terminal state and runs only what was assigned", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 50 }), (choices) => {
      let state: TaskState = "pending";
      for (const choice of choices) {
        const next: readonly TaskState[] = transitions[state];
        if (next.length === 0) return;
        const before = state;
        state = next[choice % next.length] ?? state;
        if (state === "running") expect(before).toBe("assigned");
        if (isPlaced(before) && state === "assigned") throw new Error("placed twice");
      }
    }),
  );
});

test("Lua says the same of every pair of states", async () => {
  const redis = new Redis(process.env["SPEAR_TEST_REDIS"] ?? "redis://127.0.0.1:6379");
  try {
    const lua = `${transitionsLua}return { tostring(may_follow(ARGV[1], ARGV[2])), tostring(is_terminal(ARGV[1])) }`;
    for (const from of taskStates) {
      for (const to of taskStates) {
        const said = await redis.eval(lua, 0, from, to);
        const right = [transitions[from].includes(to), isTerminal(from)].map(String);
        expect({ from, to, said }).toEqual({ from, to, said: right });
      }
    }
  } finally {
    redis.disconnect();
  }
});
