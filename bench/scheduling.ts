/**
 * Decisions per second of placement in one process, and what a long backlog costs.
 * The plain `place` over the same nodes is the baseline where there is one.
 */
import { demandOf, place } from "../apps/sms/src/scheduler/place.ts";
import { Placer } from "../apps/sms/src/scheduler/placer.ts";
import { nodeView } from "../apps/sms/src/scheduler/samples.ts";
import type { Demand, NodeView } from "../apps/sms/src/scheduler/place.ts";
import { type Measure, median } from "./measure.ts";

const rounds = 7;
const classCount = 20;
/** Time that a round takes at least, in milliseconds. */
const roundMs = 150;

/** Nodes in three zones with two kinds of disks, some with GPUs. */
function clusterOf(size: number): NodeView[] {
  return Array.from({ length: size }, (_, number) => {
    const attributes: Record<string, string[]> = {
      "label.zone": [["eu", "us", "asia"][number % 3] as string],
      "label.disk": [number % 2 === 0 ? "ssd" : "hdd"],
      version: [`1.${number % 12}.0`],
    };
    return nodeView(number, {
      attributes: (subject) => attributes[subject] ?? [],
      capacity: {
        cpuMilli: 64_000,
        memoryBytes: 2 ** 38,
        slots: 1_000,
        extras: number % 10 === 0 ? { gpu: 8 } : {},
      },
    });
  });
}

/** Classes with conditions, hard and soft, and different needs. */
const demands: Demand[] = Array.from({ length: classCount }, (_, cls) =>
  demandOf({
    process: { command: ["true"] },
    resources: { cpu: 0.05 * (1 + (cls % 4)), memoryBytes: 2 ** 24 * (1 + (cls % 3)) },
    constraints: ["label.zone in eu,us", cls % 2 === 0 ? "label.disk == ssd" : "version >= 1.2"],
    affinities: [{ constraint: "label.zone == us", weight: 10 * (cls % 5) }],
  }),
);

/** Decisions per second: each takes its room, and gives it back some decisions later. */
function rate(size: number, choose: (placer: Placer, cls: number) => string | undefined): number {
  const placer = new Placer("binpack");
  for (const node of clusterOf(size)) placer.set(node);
  const held: { id: NodeView["id"]; demand: Demand }[] = [];
  let decisions = 0;
  const start = performance.now();
  while (performance.now() - start < roundMs) {
    for (let turn = 0; turn < 20; turn++, decisions++) {
      const cls = decisions % classCount;
      const id = choose(placer, cls) as NodeView["id"] | undefined;
      const demand = demands[cls] as Demand;
      if (id !== undefined) {
        placer.adjust(id, demand, 1);
        held.push({ id, demand });
      }
      const [oldest] = held.length > 50 ? held.splice(0, 1) : [];
      if (oldest !== undefined) placer.adjust(oldest.id, oldest.demand, -1);
    }
  }
  return (decisions * 1_000) / (performance.now() - start);
}

const quick = (placer: Placer, cls: number) => placer.choose(String(cls), demands[cls] as Demand);
const plain = (placer: Placer, cls: number) =>
  place(demands[cls] as Demand, placer.nodes, "binpack").nodeId;

export function run(): Promise<Measure[]> {
  const rates: Record<"ten" | "thousand" | "plain", number[]> = {
    ten: [],
    thousand: [],
    plain: [],
  };
  for (let round = 0; round < rounds; round++) {
    rates.ten.push(rate(10, quick));
    rates.thousand.push(rate(1_000, quick));
    rates.plain.push(rate(1_000, plain));
  }
  const compare = (name: string, baseline: number[], baselineName: string): Measure => ({
    name,
    unit: "decisions/s",
    ours: median(rates.thousand),
    baseline: median(baseline),
    baselineName,
    ratio: median(rates.thousand) / median(baseline),
  });
  return Promise.resolve([
    compare("placing on 1,000 nodes with conditions", rates.plain, "plain place"),
    compare("placing on 1,000 nodes against 10", rates.ten, "10 nodes"),
  ]);
}
