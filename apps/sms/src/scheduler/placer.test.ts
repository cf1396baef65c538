/** The quick placer against `place`, whatever happens to the nodes between two questions. */
import type { NodeId } from "@spear/shared/ids.ts";
import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Demand, demandOf, type NodeView, place } from "./place.ts";
import { Placer } from "./placer.ts";
import { anyNode, anySpec, nodeView, taskIdOf } from "./samples.ts";
import { Tournament } from "./tournament.ts";

const nodeCount = 12;

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({
    op: fc.constant("choose" as const),
    spec: fc.nat(3),
    task: fc.option(fc.nat(3), { nil: undefined }),
    inputs: fc.subarray(["data/a", "data/b", "data/c"]),
    take: fc.boolean(),
  }) },
  { weight: 2, arbitrary: fc.nat(nodeCount - 1).chain((number) =>
    anyNode(number).map((node) => ({ op: "set" as const, node })),
  ) },
  fc.record({ op: fc.constant("delete" as const), node: fc.nat(nodeCount - 1) }),
  fc.record({ op: fc.constant("giveBack" as const), which: fc.nat() }),
); // prettier-ignore

test("chooses what place chooses", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("binpack" as const, "spread" as const),
      fc.tuple(anySpec, anySpec, anySpec, anySpec),
      fc.array(step, { minLength: 20, maxLength: 60 }),
      (policy, specs, steps) => {
        const demands = specs.map((spec) => demandOf(spec));
        const placer = new Placer(policy);
        const siblings = new Map<NodeId, number>();
        const taken: { id: NodeId; demand: Demand }[] = [];
        for (let number = 0; number < nodeCount; number += 2) placer.set(nodeView(number));
        for (const one of steps) {
          if (one.op === "set") placer.set(structuredNode(one.node));
          else if (one.op === "delete") placer.delete(nodeView(one.node).id);
          else if (one.op === "giveBack") giveBack(placer, taken, siblings, one.which);
          else {
            const demand = demands[one.spec] as Demand;
            const taskId = one.task === undefined ? undefined : taskIdOf(one.task);
            const circumstances = { taskId, siblings, inputs: one.inputs };
            const { nodeId } = place(demand, placer.nodes, policy, circumstances);
            expect(placer.choose(String(one.spec), demand, circumstances)).toBe(nodeId as NodeId);
            if (nodeId !== undefined && one.take) {
              placer.adjust(nodeId, demand, 1);
              taken.push({ id: nodeId, demand });
              siblings.set(nodeId, (siblings.get(nodeId) ?? 0) + 1);
            }
          }
        }
      },
    ),
    { numRuns: 300 },
  );
});

/** A copy, so that what a run reserves is not there in the next. */
function structuredNode(node: NodeView): NodeView {
  return { ...node, reserved: { ...node.reserved } };
}

function giveBack(
  placer: Placer,
  taken: { id: NodeId; demand: Demand }[],
  siblings: Map<NodeId, number>,
  which: number,
): void {
  const [one] = taken.splice(which % Math.max(1, taken.length), 1);
  if (one === undefined) return;
  placer.adjust(one.id, one.demand, -1);
  const left = (siblings.get(one.id) ?? 1) - 1;
  if (left === 0) siblings.delete(one.id);
  else siblings.set(one.id, left);
}

test("catches up also after more changes than it keeps", () => {
  const placer = new Placer("spread");
  const demand = demandOf({ process: { command: ["true"] }, resources: { cpu: 1 } });
  for (let number = 0; number < 10; number++) placer.set(nodeView(number));
  expect(placer.choose("a", demand)).toBe(nodeView(0).id);
  for (let at = 0; at < 5_000; at++)
    placer.adjust(nodeView(at % 10).id, demand, at % 20 < 10 ? 1 : -1);
  placer.adjust(nodeView(0).id, demand, 1);
  expect(placer.choose("a", demand)).toBe(nodeView(1).id);
});

test("keeps no more classes than it may, and answers for all", () => {
  const placer = new Placer("binpack");
  placer.set(nodeView(1));
  const demand = demandOf({ process: { command: ["true"] } });
  for (let cls = 0; cls < 1_000; cls++)
    expect(placer.choose(String(cls), demand)).toBe(nodeView(1).id);
});

test("a tournament knows the greatest, of equal ones the first", () => {
  const score = fc.constantFrom(Number.NEGATIVE_INFINITY, -3, 0, 1, 2);
  fc.assert(
    fc.property(
      fc.array(score, { maxLength: 20 }),
      fc.array(fc.tuple(fc.nat(19), score)),
      (scores, changes) => {
        const tournament = new Tournament(scores);
        const now = [...scores];
        for (const [leaf, to] of changes) {
          if (leaf >= now.length) continue;
          now[leaf] = to;
          tournament.set(leaf, to);
          const most = Math.max(...now);
          const best = most === Number.NEGATIVE_INFINITY ? undefined : now.indexOf(most);
          expect(tournament.best).toBe(best);
        }
      },
    ),
  );
});
