/**
 * Short commands through ProcessAgent, against loops of nothing but `Bun.spawn` with
 * the same command at the same concurrency: one keeps the command's output as the
 * agent does, one throws it away. Ours has a session, a control group and limits of
 * its own on top. Short rounds take turns, so that a machine whose speed drifts
 * drifts for all; ratios are medians over rounds.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProcessAgent } from "@spear/spearlet/agents/process.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { type Measure, median, quantile } from "./measure.ts";

const command = ["/bin/true"];
const concurrency = 8;
const perRound = 64;
const rounds = 60;
const roundsWhenShort = 12;
const warmUps = 2;

/** One command at a time, then several; each round's rate and all latencies. */
class Runner {
  readonly rates: number[] = [];
  readonly latenciesMs: number[] = [];
  readonly #once: () => Promise<void>;

  constructor(once: () => Promise<void>) {
    this.#once = once;
  }

  async crowd(): Promise<void> {
    let left = perRound;
    const startMs = performance.now();
    await Promise.all(
      Array.from({ length: concurrency }, async () => {
        while (left-- > 0) await this.#once();
      }),
    );
    this.rates.push((perRound * 1000) / (performance.now() - startMs));
  }

  async alone(): Promise<void> {
    for (let count = 0; count < concurrency; count++) {
      const startMs = performance.now();
      await this.#once();
      this.latenciesMs.push(performance.now() - startMs);
    }
  }

  forget(): void {
    this.rates.length = 0;
    this.latenciesMs.length = 0;
  }
}

function rates(name: string, ours: Runner, theirs: Runner): Measure {
  return {
    name: `process, ${concurrency} at once`,
    unit: "tasks/s",
    ours: median(ours.rates),
    baseline: median(theirs.rates),
    baselineName: name,
    ratio: median(ours.rates.map((rate, round) => rate / (theirs.rates[round] ?? Number.NaN))),
  };
}

function latencies(name: string, ours: Runner, theirs: Runner): Measure {
  const [mine, other] = [median(ours.latenciesMs), median(theirs.latenciesMs)];
  return {
    name: "process, one at a time",
    unit: "ms",
    ours: mine,
    baseline: other,
    baselineName: name,
    ratio: mine / other,
    p50Ms: mine,
    p99Ms: quantile(ours.latenciesMs, 0.99),
  };
}

export async function run({ short = false } = {}): Promise<Measure[]> {
  const dataDir = await mkdtemp(join(tmpdir(), "spear-bench-process-"));
  const nodeId = systemIds.next("node");
  await using agent = new ProcessAgent({
    nodeId,
    dataDir,
    sandboxes: ["none"],
    hostNetwork: false,
  });
  await agent.probe();

  // Who makes the ids is not the agent.
  const taskId = systemIds.next("task");
  let attempt = 0;
  const ours = new Runner(async () => {
    attempt += 1;
    const prepared = await agent.prepare({
      taskId,
      attempt,
      spec: { process: { command } },
      workDir: dataDir,
      env: { SPEAR_TASK_ID: taskId, SPEAR_ATTEMPT: String(attempt), SPEAR_NODE_ID: nodeId },
      stdin: new Uint8Array(),
      output: { write: () => Promise.resolve() },
      limits: { cpu: 0.1, memoryBytes: 64 * 1024 * 1024, pids: undefined },
    });
    const { exitCode } = await (await prepared.start()).exit;
    await prepared.cleanup();
    if (exitCode !== 0) throw new Error(`the command ended with ${exitCode}`);
  });
  const plain = { cwd: dataDir, env: {}, stdin: "ignore" } as const;
  const captured = new Runner(async () => {
    const child = Bun.spawn(command, { ...plain, stdout: "pipe", stderr: "pipe" });
    await Promise.all([child.exited, child.stdout.bytes(), child.stderr.bytes()]);
  });
  const ignored = new Runner(async () => {
    await Bun.spawn(command, { ...plain, stdout: "ignore", stderr: "ignore" }).exited;
  });

  const runners = [ours, captured, ignored];
  try {
    for (let round = -warmUps; round < (short ? roundsWhenShort : rounds); round++) {
      if (round === 0) for (const runner of runners) runner.forget();
      for (const runner of runners) await runner.crowd();
      for (const runner of runners) await runner.alone();
    }
  } finally {
    await rm(dataDir, { recursive: true });
  }
  return [
    rates("Bun.spawn, output kept", ours, captured),
    rates("Bun.spawn, output ignored", ours, ignored),
    latencies("Bun.spawn, output kept", ours, captured),
    latencies("Bun.spawn, output ignored", ours, ignored),
  ];
}
