/**
 * The simulation over a few hundred seeds, and the proof that it finds what it is
 * for. A failing seed is printed with the shortest plan that still fails; replay it
 * with `bun run sim --seed N`.
 */
import { describe, expect, test } from "bun:test";
import type { Bug } from "./memory.ts";
import { planOf, smallSize } from "./plan.ts";
import { Random } from "./random.ts";
import { report, shrink, simulate } from "./simulation.ts";

const seeds = 200;
/** Far more than it needs, for a machine that does much else. */
const timeoutMs = 240_000;

test(
  `${seeds} seeds keep T1 to T5, and go wherever things can go wrong`,
  () => {
    const reasons = new Set<string>();
    for (let seed = 1; seed <= seeds; seed++) {
      const plan = planOf(seed, smallSize);
      const result = simulate(plan);
      if (result.violation !== undefined) throw new Error(report(shrink(plan)));
      for (const reason of result.reasons.keys()) reasons.add(reason);
    }
    for (const reason of [
    "submitted", "placed", "claimed", "exited", "retry", "refused", "node_fault", "cancel",
    "node_lost", "node_restarted", "lease_expired", "session_broken", "registered", "returned",
    "drain", "undrain", "drained", "preempted",
  ]) expect(reasons).toContain(reason); // prettier-ignore
  },
  timeoutMs,
);

describe("a bug that is planted on purpose is found within 100 seeds", () => {
  const cases: [Bug, RegExp][] = [
    ["release_twice", /^T4: /],
    ["no_fencing", /^T3: /],
    ["lost_event", /^T5: /],
    ["no_exclusion", /^T7: /],
  ];
  test.each(cases)("%s", (bug, invariant) => {
    const seed = Array.from({ length: 100 }, (_, index) => index + 1).find(
      (one) => simulate(planOf(one, smallSize), bug).violation !== undefined,
    );
    const plan = planOf(seed ?? 0, smallSize);
    expect(simulate(plan, bug).violation).toMatch(invariant);
    expect(simulate(plan).violation).toBeUndefined();
  });
});

test("a seed gives the same run every time, and another seed another", () => {
  const run = (seed: number) => simulate(planOf(seed, smallSize)).lines;
  expect(run(7)).toEqual(run(7));
  expect(run(7)).not.toEqual(run(8));
});

test("a failing plan is shortened and still fails", () => {
  const plan = planOf(2, smallSize);
  const shortened = shrink(plan, "no_fencing", 60);
  expect(shortened.plan.actions.length).toBeLessThan(plan.actions.length / 2);
  expect(simulate(shortened.plan, "no_fencing").violation).toBe(
    shortened.result.violation as string,
  );
});

test("random numbers are even enough and follow from their seed", () => {
  const random = new Random(5);
  const counts = Array.from({ length: 10 }, () => 0);
  for (let at = 0; at < 10_000; at++) {
    const number = random.between(0, 9);
    counts[number] = (counts[number] ?? 0) + 1;
  }
  for (const count of counts) expect(Math.abs(count - 1_000)).toBeLessThan(150);
  expect(new Random(5).next()).toBe(new Random(5).next());
});
