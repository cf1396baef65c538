/** Nodes and demands for tests and benchmarks of placement: small numbers, so that ties happen. */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import fc from "fast-check";
import type { NodeView } from "./place.ts";

/** A node of four cores, a GiB and eight slots in zone eu that offers processes. */
export function nodeView(number: number, more: Partial<NodeView> = {}): NodeView {
  const id = `node_${String(number).padStart(26, "0")}` as NodeId;
  const attributes: Record<string, string[]> = { "label.zone": ["eu"], node: [id] };
  return {
    id,
    name: `n${number}`,
    ready: true,
    cordoned: false,
    runtimes: new Set(["process"]),
    attributes: (subject) => attributes[subject] ?? [],
    capacity: { cpuMilli: 4_000, memoryBytes: 2 ** 30, slots: 8, extras: {} },
    reserved: { cpuMilli: 0, memoryBytes: 0, slots: 0, extras: {} },
    penalty: 0,
    cached: new Set(),
    heldFor: undefined,
    ...more,
  };
}

export const taskIdOf = (number: number) => `task_${String(number).padStart(26, "0")}` as TaskId;

/** Any node of that number. */
export const anyNode = (number: number): fc.Arbitrary<NodeView> =>
  fc
    .record({
      ready: fc.boolean().map((ready) => ready || number % 4 !== 0),
      runtimes: fc.subarray(["process", "docker"]),
      zone: fc.constantFrom("eu", "us", ""),
      disk: fc.constantFrom("ssd", "hdd"),
      cpu: fc.integer({ min: 0, max: 4 }),
      memory: fc.integer({ min: 0, max: 4 }),
      slots: fc.integer({ min: 0, max: 4 }),
      gpu: fc.integer({ min: 0, max: 2 }),
      used: fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2)),
      penalty: fc.constantFrom(0, 0, 100, 250),
      cached: fc.subarray(["data/a", "data/b", "data/c"]),
      heldFor: fc.option(fc.nat(3).map(taskIdOf), { nil: undefined, freq: 8 }),
    })
    .map((any) => {
      const base = nodeView(number);
      const attributes: Record<string, string[]> = {
        "label.zone": any.zone === "" ? [] : [any.zone],
        "label.disk": [any.disk],
        runtime: any.runtimes,
      };
      return {
        ...base,
        ready: any.ready,
        runtimes: new Set(any.runtimes),
        attributes: (subject: string) => attributes[subject] ?? [],
        capacity: {
          cpuMilli: any.cpu * 1_000,
          memoryBytes: any.memory * 100,
          slots: any.slots,
          extras: any.gpu === 0 ? {} : { gpu: any.gpu },
        },
        reserved: {
          cpuMilli: Math.min(any.cpu, any.used[0]) * 1_000,
          memoryBytes: Math.min(any.memory, any.used[1]) * 100,
          slots: Math.min(any.slots, any.used[2]),
          extras: {},
        },
        penalty: any.penalty,
        cached: new Set(any.cached),
        heldFor: any.heldFor,
      };
    });

/** Any spec that such nodes may or may not fit. */
export const anySpec: fc.Arbitrary<TaskSpec> = fc
  .record({
    docker: fc.boolean(),
    cpu: fc.constantFrom(0, 0.5, 1, 3),
    memoryBytes: fc.constantFrom(0, 50, 100, 300),
    gpu: fc.constantFrom(0, 0, 1, 2),
    constraints: fc.subarray([
      "label.zone == eu",
      "label.disk != hdd",
      "label.zone exists",
      "runtime == docker",
    ]),
    affinities: fc.subarray([
      { constraint: "label.zone == us", weight: 40 },
      { constraint: "label.disk == ssd", weight: -70 },
    ]),
    node: fc.option(fc.nat(5), { nil: undefined, freq: 8 }),
    heed: fc.constantFrom<Partial<TaskSpec>>(
      {},
      {},
      { spread: { label: "zone" } },
      { antiAffinity: "job" },
      { spread: { label: "disk" }, antiAffinity: "job" },
    ),
  })
  .map((any) => ({
    ...(any.docker ? { docker: { image: "debian:12" } } : { process: { command: ["true"] } }),
    resources: {
      cpu: any.cpu,
      memoryBytes: any.memoryBytes,
      extras: any.gpu === 0 ? {} : { gpu: any.gpu },
    },
    constraints: any.constraints,
    affinities: any.affinities,
    ...(any.node === undefined ? {} : { nodeId: nodeView(any.node).id }),
    ...any.heed,
  }));
