import { expect, test } from "bun:test";
import { explained } from "./why.ts";

const node = (number: number) => ({
  nodeId: `node_${number}`,
  name: `n${number}`,
  chosen: false,
  reasons: ["needs 2 cpu, 0.5 free"],
  score: {},
});

test("a task that waits: what would place it, then what speaks against each node", () => {
  const text = explained({
    taskId: "task_1",
    state: "pending",
    summary: "no node can take it now: 1 node short of cpu",
    changes: ["cpu at most 0.5", "one more node that offers process and has 2 cpu, 64 MiB free"],
    nodes: [node(1)],
  });
  expect(text).toBe(
    [
      "task_1 is pending: no node can take it now: 1 node short of cpu",
      "It would be placed now with",
      "  cpu at most 0.5",
      "  one more node that offers process and has 2 cpu, 64 MiB free",
      "NODE    POINTS  WHY",
      "n1              needs 2 cpu, 0.5 free",
    ].join("\n"),
  );
});

test("a task that is placed: the points of its node by part", () => {
  const chosen = {
    ...node(1),
    chosen: true,
    reasons: [],
    score: { room: 250, affinity: -40, spread: 0 },
  };
  const text = explained({
    taskId: "task_1",
    state: "running",
    summary: "it is on node n1",
    changes: [],
    nodes: [chosen],
  });
  expect(text).toContain("n1    chosen  210     room 250, affinity -40");
});

test("of many nodes the rest is counted", () => {
  const nodes = Array.from({ length: 25 }, (_, number) => node(number));
  const text = explained({ taskId: "t", state: "pending", summary: "s", changes: [], nodes });
  expect(text).toEndWith("and 5 more nodes");
});
