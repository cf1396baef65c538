/**
 * Wasm guests through WasmAgent, against the same module in a plain Bun process.
 * The baseline has neither limits nor walls, and starts cold for each run, as
 * nothing else would. Runs alternate, so that a machine whose speed drifts drifts
 * for both; medians are quoted.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AttemptContext, OutputSink } from "@spear/spearlet/agents/agent.ts";
import { writeWat } from "@spear/spearlet/agents/wasm/guests/build.ts";
import { hello } from "@spear/spearlet/agents/wasm/testing.ts";
import { WasmAgent } from "@spear/spearlet/agents/wasm/wasm.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { type Measure, median, quantile } from "./measure.ts";

const rounds = 100;
const crunchRounds = 7;
const crowd = 1000;
const crowdAtOnce = 4;
/** Pause in which a pool gets its next child ready, as between tasks that do not come in a rush. */
const pauseMs = 40;

/** A loop of some 600 million steps without any import. */
const crunch = `(module (memory (export "memory") 1)
  (func (export "_start") (local $left i32) (local $x i32)
    (local.set $x (i32.const 88172645))
    (local.set $left (i32.const 600000000))
    (loop $again
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
      (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (local.get $left)))
    (i32.store (i32.const 0) (local.get $x))))`;

/** Runs a module whose only import may be fd_write, and prints how long it took in milliseconds. */
const plain = `
  const bytes = await Bun.file(process.argv[2]).bytes();
  const startMs = performance.now();
  const imports = { wasi_snapshot_preview1: { fd_write: () => 0 } };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), imports);
  instance.exports._start();
  console.log(performance.now() - startMs);`;

class Runs implements AsyncDisposable {
  readonly #folder: string;
  readonly #agent: WasmAgent;
  readonly #reusing: WasmAgent;

  constructor(folder: string) {
    this.#folder = folder;
    const options = {
      cacheDir: join(folder, "cache"),
      fetchModule: (object: string) =>
        Promise.resolve({ path: join(folder, object.slice("files/".length)), sha256: "" }),
    };
    this.#agent = new WasmAgent({ ...options, idle: crowdAtOnce });
    this.#reusing = new WasmAgent({ ...options, idle: 1, reuseKey: () => "bench" });
  }

  #context(module: string, output: OutputSink): AttemptContext {
    return {
      taskId: systemIds.next("task"),
      attempt: 1,
      spec: { wasm: { module: `files/${module}` } },
      workDir: join(this.#folder, "work"),
      env: {},
      stdin: new Uint8Array(),
      output,
      limits: { cpu: 1, memoryBytes: 64 * 1024 * 1024, pids: undefined },
    };
  }

  /** From start to the first output and to the exit report, in milliseconds. */
  async guest(module: string, reuse: boolean): Promise<{ firstMs: number; exitMs: number }> {
    const agent = reuse ? this.#reusing : this.#agent;
    let firstMs = Number.NaN;
    let startMs = 0;
    const output: OutputSink = {
      write: () => {
        if (Number.isNaN(firstMs)) firstMs = performance.now() - startMs;
        return Promise.resolve();
      },
    };
    const signal = AbortSignal.timeout(60_000);
    const prepared = await agent.prepare(this.#context(module, output), signal);
    startMs = performance.now();
    const exit = await (await prepared.start()).exit;
    const exitMs = performance.now() - startMs;
    await prepared.cleanup();
    if (exit.exitCode !== 0) throw new Error(`the guest ended with ${JSON.stringify(exit)}`);
    return { firstMs, exitMs };
  }

  /** The same module in a plain Bun: the whole process, and the guest alone. */
  async plain(module: string): Promise<{ wholeMs: number; guestMs: number }> {
    const startMs = performance.now();
    const script = join(this.#folder, "plain.ts");
    const child = Bun.spawn([process.execPath, script, join(this.#folder, module)], {
      stdout: "pipe",
    });
    const guestMs = Number(await new Response(child.stdout).text());
    if ((await child.exited) !== 0) throw new Error("the baseline failed");
    return { wholeMs: performance.now() - startMs, guestMs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent[Symbol.asyncDispose]();
    await this.#reusing[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true });
  }
}

function compare(
  name: string,
  ours: readonly number[],
  theirs: readonly number[],
  baselineName: string,
): Measure {
  return {
    name,
    unit: "ms",
    ours: median(ours),
    baseline: median(theirs),
    baselineName,
    ratio: median(ours) / median(theirs),
    p50Ms: median(ours),
    p99Ms: quantile(ours, 0.99),
  };
}

/** Single-use guests at `crowdAtOnce`, as many a second as come through. */
async function throughput(once: () => Promise<unknown>): Promise<number> {
  let left = crowd;
  const startMs = performance.now();
  await Promise.all(
    Array.from({ length: crowdAtOnce }, async () => {
      while (left-- > 0) await once();
    }),
  );
  return (crowd * 1000) / (performance.now() - startMs);
}

export async function run(): Promise<Measure[]> {
  const folder = await mkdtemp(join(tmpdir(), "spear-bench-wasm-"));
  await using runs = new Runs(folder);
  await mkdir(join(folder, "work"));
  await writeWat(join(folder, "hello.wasm"), hello);
  await writeWat(join(folder, "crunch.wasm"), crunch);
  await writeFile(join(folder, "plain.ts"), plain);

  const fresh: { firstMs: number; exitMs: number }[] = [];
  const reused: { firstMs: number; exitMs: number }[] = [];
  const cold: number[] = [];
  await runs.guest("hello.wasm", true);
  for (let round = 0; round < rounds; round++) {
    await Bun.sleep(pauseMs);
    fresh.push(await runs.guest("hello.wasm", false));
    await Bun.sleep(pauseMs);
    reused.push(await runs.guest("hello.wasm", true));
    cold.push((await runs.plain("hello.wasm")).wholeMs);
  }

  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < crunchRounds; round++) {
    ours.push((await runs.guest("crunch.wasm", false)).exitMs);
    theirs.push((await runs.plain("crunch.wasm")).guestMs);
  }

  const perSecond = await throughput(() => runs.guest("hello.wasm", false));
  const plainPerSecond = await throughput(() => runs.plain("hello.wasm"));
  const first = (list: typeof fresh) => list.map(({ firstMs }) => firstMs);
  const exit = (list: typeof fresh) => list.map(({ exitMs }) => exitMs);
  return [
    compare("wasm, ready child: start to first output", first(fresh), cold, "plain bun, cold"),
    compare("wasm, ready child: start to exit report", exit(fresh), cold, "plain bun, cold"),
    compare("wasm, reused child: start to first output", first(reused), cold, "plain bun, cold"),
    compare("wasm, reused child: start to exit report", exit(reused), cold, "plain bun, cold"),
    compare("wasm, CPU-bound guest", ours, theirs, "same module in plain bun"),
    {
      name: `wasm, ${crowd} single-use guests, ${crowdAtOnce} at once`,
      unit: "tasks/s",
      ours: perSecond,
      baseline: plainPerSecond,
      baselineName: "plain bun",
      ratio: perSecond / plainPerSecond,
    },
  ];
}
