/**
 * Hostcalls of a Wasm guest, through every real part: one-KB objects read one by one,
 * and a large one as a stream. The baseline reads the same from the store, in the same
 * order, without a guest, a grant or a node between. Where the machine is shared, the
 * CPU time of a call says more than its rate.
 *   SPEAR_BENCH_READS   how many objects are read; default 20,000
 *   SPEAR_BENCH_BYTES   size of the large one; default 1 GiB
 */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Task, TaskSpec } from "@spear/shared/task.ts";
import { Cluster, until } from "../tests/programs.ts";
import type { Measure } from "./measure.ts";

const reads = Number(process.env["SPEAR_BENCH_READS"] ?? 20_000);
const largeBytes = Number(process.env["SPEAR_BENCH_BYTES"] ?? 1024 ** 3);
const root = join(import.meta.dir, "..");
const clockTicksPerSecond = 100;
const kernelPageBytes = 4096;

/** CPU time of a process so far, in milliseconds. */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / clockTicksPerSecond;
}

const rssBytes = (pid: number) =>
  Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * kernelPageBytes;

class Bench implements AsyncDisposable {
  readonly #cluster: Cluster;
  readonly #folder: string;

  constructor(cluster: Cluster, folder: string) {
    this.#cluster = cluster;
    this.#folder = folder;
  }

  get nodePid(): number {
    return this.#cluster.nodes[0]?.pid ?? 0;
  }

  object(key: string): string {
    return `http://${this.#cluster.store?.http}/v1/buckets/bench/objects/${key}`;
  }

  async prepare(): Promise<void> {
    await fetch(`http://${this.#cluster.store?.http}/v1/buckets/bench`, { method: "PUT" });
    const out = join(this.#folder, "guest.wasm");
    const flags = ["--target=wasm32-wasi", "--sysroot=/usr", `-I${root}/libs/task/c`, "-O2"];
    const built = Bun.spawn(["clang", ...flags, "-o", out, join(root, "bench/hostcalls.c")]);
    if ((await built.exited) !== 0) throw new Error("the guest can't be compiled");
    await fetch(this.object("guest.wasm"), { method: "PUT", body: Bun.file(out) });
    await fetch(this.object("small"), { method: "PUT", body: new Uint8Array(1024) });
    const piece = new Uint8Array(8 << 20);
    await fetch(this.object("large"), {
      method: "PUT",
      body: (async function* () {
        for (let left = largeBytes; left > 0; left -= piece.length) {
          yield piece.subarray(0, Math.min(left, piece.length));
        }
      })(),
    });
  }

  /** Runs the guest; how long it took by its own clock, and what it cost. */
  async guest(...args: string[]) {
    const spec: TaskSpec = {
      wasm: { module: "bench/guest.wasm", args },
      hostcalls: ["object.read:bench/*"],
    };
    const before = cpuMs(this.nodePid);
    let peakBytes = 0;
    const { id } = await this.#cluster.api<Task>("POST", "/v1/tasks", { spec });
    const task = await until(
      "the guest to end",
      async () => {
        peakBytes = Math.max(peakBytes, rssBytes(this.nodePid));
        const now = await this.#cluster.api<Task>("GET", `/v1/tasks/${id}`);
        return now.finishedAtMs === undefined ? undefined : now;
      },
      600_000,
    );
    const response = await fetch(
      `http://${this.#cluster.sms.http}/v1/tasks/${id}/logs?stream=stdout`,
      { headers: { accept: "application/octet-stream" } },
    );
    const [ms = 0, bytes = 0] = (await response.text()).split(" ").map(Number);
    if (task.state !== "succeeded") throw new Error(`the guest ${task.state}`);
    const { cpuMs: guestMs = 0, maxMemoryBytes = 0 } = task.usage ?? {};
    const nodeMs = cpuMs(this.nodePid) - before;
    return { ms, bytes, guestMs, nodeMs, peakBytes, maxMemoryBytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Reads an object from the store, again and again; milliseconds. */
async function plainReads(url: string, times: number): Promise<number> {
  const startMs = performance.now();
  for (let read = 0; read < times; read++) await (await fetch(url)).arrayBuffer();
  return performance.now() - startMs;
}

async function plainStream(url: string): Promise<number> {
  const startMs = performance.now();
  const { body } = await fetch(url);
  for await (const _ of (body ?? []) as AsyncIterable<Uint8Array>);
  return performance.now() - startMs;
}

const mib = (bytes: number) => Math.round(bytes / 1024 / 1024);

/** A rate and its baseline. */
function rate(name: string, unit: string, amount: number, ms: number, plainMs: number): Measure {
  const [ours, baseline] = [(amount / ms) * 1000, (amount / plainMs) * 1000];
  return { name, unit, ours, baseline, baselineName: "plain fetch", ratio: ours / baseline };
}

export async function run(): Promise<Measure[]> {
  const folder = await mkdtemp(join(tmpdir(), "spear-bench-"));
  const cluster = await Cluster.start({ store: true, spearlet: { runtimes: "wasm" } });
  await using bench = new Bench(cluster, folder);
  await bench.prepare();
  await bench.guest("get", "bench/small", "500");
  await plainReads(bench.object("small"), 500);
  const small = await bench.guest("get", "bench/small", String(reads));
  const fresh = await bench.guest("get", "bench/small", String(reads), "fresh");
  const plainSmallMs = await plainReads(bench.object("small"), reads);
  const idleBytes = rssBytes(bench.nodePid);
  const large = await bench.guest("stream", "bench/large");
  const plainLargeMs = await plainStream(bench.object("large"));
  const perCall = (ms: number) => (ms * 1000) / reads;
  const cost = (name: string, ours: number, baseline: number, baselineName: string, unit: string) =>
    ({ name, unit, ours, baseline, baselineName, ratio: ours / baseline }) satisfies Measure;
  return [
    rate("one-KB object reads of one guest", "reads/s", reads, small.ms, plainSmallMs),
    cost("CPU of a read", perCall(small.nodeMs), perCall(small.guestMs), "in the guest", "µs"),
    rate("the same, each from the store", "reads/s", reads, fresh.ms, plainSmallMs),
    cost("CPU of such a read", perCall(fresh.nodeMs), perCall(fresh.guestMs), "in the guest", "µs"),
    rate("a large object as a stream", "MiB/s", mib(large.bytes), large.ms, plainLargeMs),
    cost("memory of the node meanwhile", mib(large.peakBytes), mib(idleBytes), "before", "MiB"),
  ];
}
