/**
 * A container through DockerAgent against `docker run --rm` of the same image on the
 * same engine, both without a network. Ours has its limits, its mounts and no
 * privileges on top. Runs alternate, so that a machine whose speed drifts drifts
 * for both; medians are quoted.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DockerAgent } from "@spear/spearlet/agents/docker/docker.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { docker, sharedDocker } from "../tests/docker.ts";
import { type Measure, median, quantile } from "./measure.ts";

const rounds = 30;
const warmUps = 3;

interface Ours {
  /** From the image's check to the exit report, in milliseconds. */
  reportMs: number;
  /** The same with the container's removal. */
  removedMs: number;
}

export async function run(): Promise<Measure[]> {
  await using engine = await sharedDocker();
  await using agent = new DockerAgent({
    nodeId: systemIds.next("node"),
    socketPath: engine.socketPath,
    log: silentLog,
  });
  const workDir = await mkdtemp(join(tmpdir(), "spear-bench-docker-"));
  const never = new AbortController().signal;

  const throughAgent = async (): Promise<Ours> => {
    const startMs = performance.now();
    const prepared = await agent.prepare(
      {
        taskId: systemIds.next("task"),
        attempt: 1,
        spec: { docker: { image: engine.image, command: ["true"] } },
        workDir,
        env: {},
        stdin: new Uint8Array(),
        output: { write: () => Promise.resolve() },
        limits: { cpu: 1, memoryBytes: 64 * 1024 * 1024, pids: 64 },
      },
      never,
    );
    const { exitCode } = await (await prepared.start()).exit;
    const reportMs = performance.now() - startMs;
    if (exitCode !== 0) throw new Error(`the command ended with ${exitCode}`);
    await prepared.cleanup();
    return { reportMs, removedMs: performance.now() - startMs };
  };
  const throughClient = async (): Promise<number> => {
    const startMs = performance.now();
    await docker(engine.socketPath, "run", "--rm", "--network=none", engine.image, "true");
    return performance.now() - startMs;
  };

  const ours: Ours[] = [];
  const theirs: number[] = [];
  try {
    for (let round = -warmUps; round < rounds; round++) {
      const mine = await throughAgent();
      const other = await throughClient();
      if (round < 0) continue;
      ours.push(mine);
      theirs.push(other);
    }
  } finally {
    await rm(workDir, { recursive: true });
  }
  const compare = (name: string, values: number[]): Measure => ({
    name,
    unit: "ms",
    ours: median(values),
    baseline: median(theirs),
    baselineName: "docker run --rm",
    ratio: median(values) / median(theirs),
    p50Ms: median(values),
    p99Ms: quantile(values, 0.99),
  });
  return [
    compare(
      "container, start to exit report",
      ours.map(({ reportMs }) => reportMs),
    ),
    compare(
      "container, start to removal",
      ours.map(({ removedMs }) => removedMs),
    ),
  ];
}
