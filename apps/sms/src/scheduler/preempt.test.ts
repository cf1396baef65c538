import type { TaskSpec } from "@spear/shared/task.ts";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { needOf } from "../tasks/record.ts";
import { adjust, demandOf, hasRoom, type NodeView } from "./place.ts";
import { evictionFor, type Holder } from "./preempt.ts";
import { nodeView, taskIdOf } from "./samples.ts";

const specOf = (cpu: number, gpu = 0): TaskSpec => ({
  process: { command: ["true"] },
  resources: { cpu, memoryBytes: 1, ...(gpu === 0 ? {} : { extras: { gpu } }) },
});

/** A task of so much cpu on a node; those with higher numbers came later. */
function holder(number: number, cpu: number, priority: number, more: Partial<Holder> = {}): Holder {
  return {
    id: taskIdOf(number),
    attempt: 1,
    need: needOf(specOf(cpu)),
    priority,
    assignedAtMs: number,
    graceMs: 0,
    preemptible: true,
    leaving: false,
    ...more,
  };
}

/** A node of four cores and two gpus with these on it. */
function nodeWith(
  number: number,
  holders: readonly Holder[],
): { node: NodeView; holders: Holder[] } {
  const base = nodeView(number);
  const node = { ...base, capacity: { ...base.capacity, extras: { gpu: 2 } } };
  for (const { need } of holders)
    adjust(node, { ...demandOf(specOf(0)), need, extras: Object.entries(need.extras) }, 1);
  return { node, holders: [...holders] };
}

function taken(spec: TaskSpec, priority: number, ...nodes: ReturnType<typeof nodeWith>[]) {
  const eviction = evictionFor(demandOf(spec), priority, nodes);
  return eviction && eviction.victims.map(({ id }) => Number(id.slice(5)));
}

describe("who is taken", () => {
  test("one that is enough alone rather than several, whatever their priority", () => {
    const holders = [holder(1, 1, 10), holder(2, 1, 10), holder(3, 2, 40)];
    expect(taken(specOf(2), 50, nodeWith(1, holders))).toEqual([3]);
  });

  test("of as many those of the lowest priority, of these the youngest", () => {
    const holders = [holder(1, 2, 20), holder(2, 1, 10), holder(3, 1, 10)];
    expect(taken(specOf(1), 50, nodeWith(1, holders))).toEqual([3]);
  });

  test("nobody of equal or higher priority, and nobody who asked not to be", () => {
    const node = nodeWith(1, [holder(1, 4, 50)]);
    expect(taken(specOf(1), 50, node)).toBeUndefined();
    expect(taken(specOf(1), 51, node)).toEqual([1]);
    expect(
      taken(specOf(1), 90, nodeWith(1, [holder(1, 4, 0, { preemptible: false })])),
    ).toBeUndefined();
  });

  test("from one node only, that on which the fewest leave", () => {
    const many = nodeWith(1, [holder(1, 2, 10), holder(2, 2, 10)]);
    const few = nodeWith(2, [holder(3, 4, 30)]);
    expect(taken(specOf(4), 50, many, few)).toEqual([3]);
    expect(taken(specOf(5), 50, many, few)).toBeUndefined();
  });

  test("nobody where what leaves already is enough", () => {
    const holders = [holder(1, 3, 10, { leaving: true }), holder(2, 1, 10)];
    expect(taken(specOf(2), 50, nodeWith(1, holders))).toEqual([]);
  });

  test("one who has the extra", () => {
    const holders = [holder(1, 1, 0), holder(2, 1, 10, { need: needOf(specOf(1, 2)) })];
    expect(taken(specOf(1, 1), 50, nodeWith(1, holders))).toEqual([2]);
  });
});

test("whoever is taken is enough, of lower priority, and none of them is taken in vain", () => {
  const anyHolders = fc.array(
    fc.record({ cpu: fc.constantFrom(0.5, 1, 2), priority: fc.nat(4), leaving: fc.boolean() }),
    { maxLength: 7 },
  );
  fc.assert(
    fc.property(anyHolders, fc.constantFrom(1, 2, 4), fc.nat(5), (all, cpu, priority) => {
      const holders = all.map((one, number) =>
        holder(number, one.cpu, one.priority, { leaving: one.leaving && number % 3 === 0 }),
      );
      const one = nodeWith(1, holders);
      const demand = demandOf(specOf(cpu));
      const eviction = evictionFor(demand, priority, [one]);
      const roomWithout = (gone: readonly Holder[]) => {
        const left = holders.filter((each) => !gone.includes(each) && !each.leaving);
        return hasRoom(demand, one.node.capacity, nodeWith(1, left).node.reserved);
      };
      const mayGo = holders.filter((each) => !each.leaving && each.priority < priority);
      expect(eviction !== undefined).toBe(roomWithout(mayGo));
      if (eviction === undefined) return;
      const { victims } = eviction;
      expect(roomWithout(victims)).toBe(true);
      for (const victim of victims) {
        expect(mayGo).toContain(victim);
        expect(roomWithout(victims.filter((other) => other !== victim))).toBe(false);
      }
    }),
    { numRuns: 300 },
  );
});
