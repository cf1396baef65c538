import type { TaskSpec } from "@spear/shared/task.ts";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { demandOf, type NodeView, noCircumstances, place, type Refusal } from "./place.ts";
import { anyNode, anySpec, nodeView, taskIdOf } from "./samples.ts";
import { reasonsInWords, remediesOf } from "./why.ts";

const base: TaskSpec = {
  process: { command: ["true"] },
  resources: { cpu: 1, memoryBytes: 2 ** 20 },
};
const textsFor = (nodes: NodeView[], more: Partial<TaskSpec>) =>
  remediesOf(demandOf({ ...base, ...more }), nodes, noCircumstances).map(({ text }) => text);
const room = (cpuMilli: number, memoryBytes = 0, slots = 1) => ({
  cpuMilli, memoryBytes, slots, extras: {},
}); // prettier-ignore

describe("the smallest change", () => {
  const cases: [string, NodeView[], Partial<TaskSpec>, string][] = [
    [
      "less memory, of the node with the most",
      [nodeView(1, { reserved: room(0, 2 ** 29) }), nodeView(2, { reserved: room(0, 2 ** 30) })],
      { resources: { memoryBytes: 2 ** 30 } },
      "memory at most 512 MiB",
    ],
    ["less cpu", [nodeView(1, { reserved: room(3_500) })], {}, "cpu at most 0.5"],
    ["no extra", [nodeView(1)], { resources: { extras: { gpu: 2 } } }, "no gpu"],
    [
      "one condition less",
      [nodeView(1)],
      { constraints: ["label.zone == us", "label.zone exists"] },
      "without the condition label.zone == us",
    ],
    [
      "two things where one is not enough",
      [nodeView(1, { reserved: room(3_000, 2 ** 30 - 2 ** 19) })],
      { resources: { cpu: 2, memoryBytes: 2 ** 20 } },
      "cpu at most 1 and memory at most 512 KiB",
    ],
    ["a drain undone", [nodeView(1, { ready: false })], {}, "undrain node n1"],
    ["a slot", [nodeView(1, { reserved: room(0, 0, 8) })], {}, "a free slot on node n1"],
    [
      "the end of a hold",
      [nodeView(1, { heldFor: taskIdOf(7) })],
      {},
      `the end of the hold of node n1 for ${taskIdOf(7)}`,
    ],
    [
      "a node where there is none",
      [],
      { constraints: ["label.zone == eu", "arch in x64,arm64"], resources: { extras: { gpu: 1 } } },
      "one more node with label zone=eu and arch in x64,arm64 that offers process and has 0.1 cpu, 64 MiB, 1 gpu free",
    ],
  ];
  test.each(cases)("%s", (_name, nodes, more, text) => {
    expect(textsFor(nodes, more)[0]).toBe(text);
  });

  test("is not asked for where the task fits", () => {
    expect(textsFor([nodeView(1)], {})).toEqual([]);
  });
});

test("whatever the task concedes, it is placed then; and something always helps", () => {
  const nodes = fc.tuple(...Array.from({ length: 5 }, (_, number) => anyNode(number)));
  fc.assert(
    fc.property(nodes, anySpec, (all, spec) => {
      const demand = demandOf(spec);
      const remedies = remediesOf(demand, all, noCircumstances);
      const placed = place(demand, all, "binpack").nodeId !== undefined;
      if (spec.nodeId === undefined || placed) expect(remedies.length > 0).toBe(!placed);
      expect(remedies.length).toBeLessThanOrEqual(4);
      for (const { demand: asked } of remedies) {
        if (asked !== undefined) expect(place(asked, all, "binpack").nodeId).toBeDefined();
      }
    }),
    { numRuns: 500 },
  );
});

test("reasons are counted, the commonest first", () => {
  const refusal = (reason: Refusal["reason"]): Refusal => ({
    nodeId: nodeView(1).id,
    reason,
    detail: "",
  });
  expect(reasonsInWords([refusal("cpu"), refusal("slots"), refusal("slots")])).toBe(
    "2 nodes without a free slot, 1 node short of cpu",
  );
  expect(reasonsInWords([])).toBe("there is no node");
});
