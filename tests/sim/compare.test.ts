/** A recording under another policy: waits, spread and utilisation side by side. */
import type { Node } from "@spear/shared/node.ts";
import type { Event, Task } from "@spear/shared/task.ts";
import { expect, test } from "bun:test";
import { figuresOf, parseRecording, ranOf, replay, table } from "./compare.ts";

const node = (number: number): Node => ({
  id: `node_${String(number).padStart(26, "0")}`,
  name: `n${number}`,
  state: "ready",
  httpAddress: "",
  grpcAddress: "",
  capacity: { cpu: 2, memoryBytes: 2 ** 30, slots: 10, extras: {} },
  reserved: { cpu: 0, memoryBytes: 0, slots: 0, extras: {} },
  usage: { cpu: 0, memoryBytes: 0, running: 0, diskFreeBytes: 0, load1: 0 },
  labels: {},
  runtimes: [{ name: "mock", version: "" }],
  facts: { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" },
  registeredAtMs: 0,
  lastSeenAtMs: 0,
  incarnation: "",
});

/** Four tasks of one core that come together and run for a second each, all on the first node. */
function recorded(): string {
  const nodes = [node(1), node(2)];
  const lines: object[] = nodes.map((one) => ({ node: one }));
  let seq = 0;
  const happens = (taskId: string, atMs: number, from: string, to: string, nodeId = "") => {
    const event: Event = { seq: ++seq, atMs, kind: "task.state", taskId, jobId: "", nodeId, attempt: 1, from, to, reason: "" }; // prettier-ignore
    lines.push({ event });
  };
  for (let number = 0; number < 4; number++) {
    const id = `task_${String(number).padStart(26, "0")}`;
    const spec = { mock: {}, resources: { cpu: 1, memoryBytes: 0 } };
    lines.push({ task: { id, jobId: "", spec, createdAtMs: 0 } as Partial<Task> });
    const startMs = number < 2 ? 0 : 1_000;
    happens(id, 0, "", "pending");
    happens(id, startMs, "assigned", "running", nodes[0]?.id);
    happens(id, startMs + 1_000, "running", "succeeded", nodes[0]?.id);
  }
  return lines.map((line) => JSON.stringify(line)).join("\n");
}

test("what was recorded, and the same tasks as each policy places them", () => {
  const recording = parseRecording(recorded());
  const ran = ranOf(recording);
  const before = figuresOf(ran, recording.nodes);
  expect(before).toMatchObject({ tasks: 4, waitP50Ms: 1_000, spanMs: 2_000, nodesUsed: 1, unevenness: 1, utilisation: 0.5 }); // prettier-ignore
  const spread = figuresOf(replay(ran, recording.nodes, "spread"), recording.nodes);
  expect(spread).toMatchObject({ tasks: 4, waitMaxMs: 0, spanMs: 1_000, nodesUsed: 2, unevenness: 0, utilisation: 1 }); // prettier-ignore
  // One task alone: binpack and spread both need one node only.
  const one = replay(ran.slice(0, 2), recording.nodes, "binpack");
  expect(new Set(one.map(({ nodeId }) => nodeId)).size).toBe(1);
  const two = replay(ran.slice(0, 2), recording.nodes, "spread");
  expect(new Set(two.map(({ nodeId }) => nodeId)).size).toBe(2);
  expect(table({ recorded: before, spread })).toContain("longest wait              1000 ms   0 ms");
});

test("a line that is none of a recording is refused", () => {
  expect(() => parseRecording('{"node":{}}\n{"other":1}')).toThrow("line 2");
});
