/**
 * The process that runs one guest at a time. It takes its rights away, says
 * that it is ready, and then waits for a job on its control descriptor. It
 * never outlives its parent: the kernel ends it, and so does the end of file.
 */
import { confine, dieWithParent, limitCpu } from "./system/confine.ts";
import { runDirect, warmUp } from "./direct.ts";
import { failureOf } from "./failures.ts";
import { receive, send } from "./control.ts";
import { checked, exitNow, kernel, scratch } from "./system/kernel.ts";
import { tape } from "./tape.ts";
import {
  Frame,
  encodeFrame,
  frameOf,
  jsonOf,
  type Job,
  type Result,
  type RunJob,
} from "./protocol.ts";

const usage = scratch(144);
const RUSAGE_SELF = 0;

/** The next job; undefined when the parent closed the channel. */
function nextJob(): Job | undefined {
  for (;;) {
    const frame = receive();
    if (frame === undefined) return undefined;
    if (frame.kind === Frame.JOB) return jsonOf(frame.body) as Job;
  }
}

/** CPU time of this process so far, in milliseconds. */
function cpuMs(): number {
  checked(kernel.getrusage(RUSAGE_SELF, usage.address));
  const at = (offset: number) => Number(usage.view.getBigInt64(offset, true));
  return (at(0) + at(16)) * 1000 + (at(8) + at(24)) / 1000;
}

async function perform(job: Job): Promise<Omit<Result, "cpuMs">> {
  if (job.task === "run" && job.engine === "direct") return runDirect(job);
  // Only now: most children never need them.
  if (job.task === "run") return (await import("./jco/run.ts")).runJco(job);
  const nothing = { stdout: 0, stderr: 0, memoryBytes: 0 };
  try {
    const { transpile } = await import("./jco/transpile.ts");
    await transpile(job.module, job.folder);
    return { exitCode: 0, ...nothing };
  } catch (error) {
    return { failure: failureOf(error, 0, job.memoryBytes), ...nothing };
  }
}

async function run(job: Job): Promise<Result> {
  const before = cpuMs();
  if (job.task === "run" && job.cpuSeconds !== undefined) {
    limitCpu(Math.ceil(before / 1000) + job.cpuSeconds);
  }
  if (job.task === "run") startTape(job);
  const end = await perform(job);
  tape.stop();
  return { ...end, cpuMs: Math.round(cpuMs() - before) };
}

function startTape({ tape: how }: RunJob): void {
  if (how === "record") tape.record((bytes) => send(frameOf(Frame.TAPE, bytes)));
  else if (how !== undefined) tape.play(how.replay);
}

/** Serves jobs until one is the last, or the parent goes. Never returns. */
export async function serve(parent: number): Promise<never> {
  dieWithParent(parent);
  warmUp();
  confine();
  send(encodeFrame(Frame.READY));
  for (;;) {
    const job = nextJob();
    if (job === undefined) break;
    send(encodeFrame(Frame.RESULT, await run(job)));
    if (!job.reuse) break;
    // What the guest left goes now, while nobody waits.
    Bun.gc(true);
  }
  // At once: the engine's threads have nothing left to say.
  exitNow(0);
}

if (import.meta.main) await serve(Number(process.argv[2]));
