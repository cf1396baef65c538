import type { NodeId } from "@spear/shared/ids.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  bytesText,
  demandOf,
  hasRoom,
  type NodeView,
  noCircumstances,
  place,
  refusalsOf,
} from "./place.ts";
import { anyNode, anySpec, nodeView, taskIdOf } from "./samples.ts";

const process = { command: ["true"] };
const spec: TaskSpec = { process, resources: { cpu: 1, memoryBytes: 2 ** 20 } };
const room = (cpuMilli: number, slots = 1) => ({ cpuMilli, memoryBytes: 0, slots, extras: {} });
const labelled = (number: number, labels: Record<string, string>, more: Partial<NodeView> = {}) =>
  nodeView(number, {
    attributes: (subject) => {
      const value = labels[subject.slice("label.".length)];
      return value === undefined ? [] : [value];
    },
    ...more,
  });
const chosen = (nodes: NodeView[], more: Partial<TaskSpec> = {}, circumstances = noCircumstances) =>
  place(demandOf({ ...spec, ...more }), nodes, "binpack", circumstances).nodeId;

describe("a node is ruled out", () => {
  const cases: [string, Partial<NodeView>, Partial<TaskSpec>, string][] = [
    ["that does not take tasks", { ready: false }, {}, "not_ready"],
    ["without the runtime", { runtimes: new Set(["wasm"]) }, {}, "runtime"],
    ["by a condition", {}, { constraints: ["label.zone == us"] }, "constraint"],
    ["by the wish for another", {}, { nodeId: nodeView(9).id }, "other_node"],
    ["for another task's sake", { heldFor: taskIdOf(1) }, {}, "held"],
    ["by its cpu", { reserved: room(3_500) }, {}, "cpu"],
    ["by its memory", {}, { resources: { memoryBytes: 2 ** 30 + 1 } }, "memory"],
    ["by its slots", { reserved: room(0, 8) }, {}, "slots"],
    ["by an extra", {}, { resources: { extras: { gpu: 1 } } }, "extra"],
  ];
  test.each(cases)("%s", (_name, node, more, reason) => {
    const { nodeId, refusals } = place(
      demandOf({ ...spec, ...more }),
      [nodeView(1, node)],
      "binpack",
    );
    expect(nodeId).toBeUndefined();
    expect(refusals).toMatchObject([{ nodeId: nodeView(1).id, reason }]);
  });

  test("in words that say how much is short", () => {
    const [refusal] = place(
      demandOf(spec),
      [nodeView(1, { reserved: room(3_500) })],
      "binpack",
    ).refusals;
    expect(refusal?.detail).toBe("needs 1 cpu, 0.5 free");
  });
});

describe("of the nodes that fit", () => {
  const busy = nodeView(1, { reserved: room(2_000) });
  const idle = nodeView(2);

  test("binpack takes the fullest, spread the emptiest", () => {
    expect(place(demandOf(spec), [idle, busy], "binpack").nodeId).toBe(busy.id);
    expect(place(demandOf(spec), [busy, idle], "spread").nodeId).toBe(idle.id);
  });

  test("of equal ones the first by id", () => {
    expect(chosen([nodeView(3), nodeView(2), nodeView(4)])).toBe(nodeView(2).id);
  });

  test("a soft condition counts with its weight, for and against", () => {
    const [eu, us] = [labelled(1, { zone: "eu" }), labelled(2, { zone: "us" })];
    const soft = (weight: number) => ({ affinities: [{ constraint: "label.zone == us", weight }] });
    expect(chosen([eu, us], soft(50))).toBe(us.id);
    expect(chosen([eu, us], soft(-50))).toBe(eu.id);
    expect(chosen([labelled(1, {}, { reserved: room(3_000) }), us], soft(20))).toBe(eu.id);
  });

  test("one that was lost lately is liked less", () => {
    expect(chosen([nodeView(1, { penalty: 100 }), nodeView(2)])).toBe(nodeView(2).id);
  });

  test("one that has the inputs is liked more", () => {
    const near = nodeView(2, { cached: new Set(["data/a"]) });
    const inputs = { ...noCircumstances, inputs: ["data/a", "data/b"] };
    expect(chosen([nodeView(1), near], {}, inputs)).toBe(near.id);
  });

  test("a node that is kept for a task takes that one", () => {
    const held = nodeView(1, { heldFor: taskIdOf(1) });
    expect(chosen([held], {}, { ...noCircumstances, taskId: taskIdOf(1) })).toBe(held.id);
    expect(chosen([held], {}, { ...noCircumstances, taskId: taskIdOf(2) })).toBeUndefined();
  });
});

describe("tasks that heed their job", () => {
  const zones = ["a", "a", "b", "c"].map((zone, number) => labelled(number, { zone }));
  const placeMany = (more: Partial<TaskSpec>, count: number) => {
    const siblings = new Map<NodeId, number>();
    for (let at = 0; at < count; at++) {
      const nodeId = chosen(zones, more, { ...noCircumstances, siblings });
      if (nodeId === undefined) break;
      siblings.set(nodeId, (siblings.get(nodeId) ?? 0) + 1);
    }
    return siblings;
  };
  const byZone = (siblings: Map<NodeId, number>) =>
    ["a", "b", "c"].map((zone) =>
      zones
        .filter((node) => node.attributes("label.zone")[0] === zone)
        .reduce((sum, node) => sum + (siblings.get(node.id) ?? 0), 0),
    );

  test("are evened out over the values of a label, not over nodes", () => {
    expect(byZone(placeMany({ spread: { label: "zone" } }, 9))).toEqual([3, 3, 3]);
    expect(byZone(placeMany({ spread: { label: "zone" } }, 4)).toSorted()).toEqual([1, 1, 2]);
  });

  test("are each alone on a node, and wait where there is none left", () => {
    const siblings = placeMany({ antiAffinity: "job" }, 10);
    expect([...siblings.values()]).toEqual([1, 1, 1, 1]);
  });
});

test("place is total: a fitting node, or for each the first reason against it", () => {
  const nodes = fc.tuple(...Array.from({ length: 6 }, (_, number) => anyNode(number)));
  fc.assert(
    fc.property(nodes, anySpec, fc.constantFrom("binpack", "spread"), (all, any, policy) => {
      const demand = demandOf(any);
      const { nodeId, refusals, score } = place(demand, all, policy);
      for (const node of all) {
        const against = [...refusalsOf(demand, node, noCircumstances)];
        const short = against.some(({ reason }) =>
          ["cpu", "memory", "slots", "extra"].includes(reason),
        );
        expect(hasRoom(demand, node.capacity, node.reserved)).toBe(!short);
        if (node.id === nodeId) expect(against).toEqual([]);
        if (nodeId === undefined)
          expect(refusals.find((one) => one.nodeId === node.id)).toEqual(against[0] as never);
      }
      for (const part of Object.values(score)) expect(Number.isInteger(part)).toBe(true);
      if (nodeId !== undefined) expect(refusals).toEqual([]);
    }),
  );
});

test.each([
  [0, "0 bytes"],
  [1_023, "1023 bytes"],
  [512 * 2 ** 20, "512 MiB"],
  [1.5 * 2 ** 30, "1.5 GiB"],
])("%d bytes read as %s", (bytes, text) => {
  expect(bytesText(bytes)).toBe(text);
});
