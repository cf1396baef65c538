/**
 * A SPEARlet gets SIGKILL in the middle of 50 tasks of all kinds: each ends, once
 * (T2, T3), and nothing of what was running is left (T6).
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { guest } from "@spear/spearlet/agents/wasm/guests/build.ts";
import type { Event, Task, TaskSpec } from "@spear/shared/task.ts";
import { docker, sharedDocker } from "../docker.ts";
import { Cluster, until } from "../programs.ts";

const counts = { process: 22, docker: 6, wasm: 22 } as const;
const napMs = 1_000;
const resources = { cpu: 0.1, memoryBytes: 64 * 1024 * 1024 };
const ends = new Set(["succeeded", "failed", "timed_out", "cancelled"]);

/** Processes with this in their environment or at the end of their command line. */
function processesOf(nodeId: string, spearletPid: number): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      return (
        environment.includes(`SPEAR_NODE_ID=${nodeId}`) || command.at(-2) === String(spearletPid)
      );
    } catch {
      return false;
    }
  });
}

test("SIGKILL of a SPEARlet in the middle of 50 mixed tasks: all end once, nothing is left", async () => {
  await using engine = await sharedDocker();
  await using cluster = await Cluster.start({
    store: true,
    sms: { leaseMs: 60_000 },
    spearlet: {
      runtimes: "process,docker,wasm",
      dockerSocket: engine.socketPath,
      slots: 24,
      cpu: 16,
      memoryBytes: 2 ** 34,
    },
  });
  const [node] = cluster.nodes;
  if (node === undefined) throw new Error("no node");
  const bucket = `http://${cluster.store?.http}/v1/buckets/guests`;
  await fetch(bucket, { method: "PUT" });
  const module = Bun.file(await guest("behave.c"));
  expect((await fetch(`${bucket}/objects/behave`, { method: "PUT", body: module })).ok).toBe(true);

  const seconds = napMs / 1000;
  const kinds: Record<keyof typeof counts, TaskSpec> = {
    // With a grandchild that hides from its parent and its session.
    process: { process: { command: ["sh", "-c", `setsid sleep 1000 & sleep ${seconds}`] } },
    docker: { docker: { image: engine.image, command: ["sleep", String(seconds)] } },
    wasm: { wasm: { module: "guests/behave", args: ["nap", String(napMs)] } },
  };
  // Mixed, so that some of each kind run at any time.
  const specs = Object.entries(counts)
    .flatMap(([kind, count]) =>
      Array.from({ length: count }, (_, index) => ({
        at: index / count,
        spec: { ...kinds[kind as keyof typeof counts], resources },
      })),
    )
    .toSorted((one, other) => one.at - other.at)
    .map(({ spec }) => spec);
  const { taskIds } = await cluster.api<{ taskIds: string[] }>("POST", "/v1/tasks:batch", {
    specs,
  });
  expect(taskIds).toHaveLength(50);
  const list = (state: string) =>
    cluster.api<{ tasks: Task[] }>("GET", `/v1/tasks?state=${state}&pageSize=100`);
  await until("some of each kind to run", async () => {
    const { tasks } = await list("running");
    return Object.keys(counts).every((kind) => tasks.some(({ runtime }) => runtime === kind));
  });

  const { pid } = node;
  const nodeId = readFileSync(join(cluster.directory, "node-1/node-id"), "utf8").trim();
  expect(processesOf(nodeId, pid).length).toBeGreaterThan(0);
  await node.kill("SIGKILL");
  await node.start();
  await until(
    "all to end",
    async () => (await list("succeeded")).tasks.length === taskIds.length,
    120_000,
  );

  let again = 0;
  for (const id of taskIds) {
    const { events } = await cluster.api<{ events: Event[] }>("GET", `/v1/tasks/${id}/history`);
    expect(events.filter(({ to }) => ends.has(to)).map(({ to }) => to)).toEqual(["succeeded"]);
    if ((events.at(-1)?.attempt ?? 0) > 1) again += 1;
  }
  // Something was cut off and ran anew.
  expect(again).toBeGreaterThan(0);
  const label = `label=spear.node=${nodeId}`;
  await until("no container", async () => {
    return (await docker(engine.socketPath, "ps", "-aq", "--filter", label)) === "";
  });
  await until("no process of an attempt", () => processesOf(nodeId, pid).length === 0);
  await until(
    "no work directory",
    () => readdirSync(join(cluster.directory, "node-1/work")).length === 0,
  );
}, 180_000);
