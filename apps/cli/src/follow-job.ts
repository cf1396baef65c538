/** Following a job to its end: a line whenever its counts have changed, twice a second at most. */
import { isEnded, type Job } from "@spear/shared/job.ts";
import { taskStates } from "@spear/shared/state.ts";
import type { Client } from "./client.ts";
import type { Output } from "./output.ts";
import { formatDuration } from "./values.ts";

const refreshMs = 500;

/** `succeeded 3, running 2`: what a job's tasks do. */
export function countsOf(job: Job): string {
  return taskStates
    .toReversed()
    .flatMap((state) => (job.counts[state] === undefined ? [] : [`${state} ${job.counts[state]}`]))
    .join(", ");
}

/** How long a job has run, or ran. */
export function ran(job: Job): string {
  if (job.startedAtMs === undefined) return "";
  return formatDuration((job.finishedAtMs ?? Date.now()) - job.startedAtMs);
}

const line = (job: Job) =>
  [job.name, job.state, countsOf(job), job.failure?.message, isEnded(job.state) ? ran(job) : ""]
    .filter((part) => part !== undefined && part !== "")
    .join("  ");

/** Shows how a job goes on until it has ended; resolves with it as it is then. */
export async function followJob(sms: Client, output: Output, from: Job): Promise<Job> {
  let job = from;
  let shown = "";
  const show = async () => {
    const text = `${job.state} ${countsOf(job)}`;
    if (text === shown) return;
    shown = text;
    await output.item(job, line);
  };
  const refresh = async () => {
    job = await sms.json<Job>("GET", `/v1/jobs/${job.id}`);
  };
  await show();
  while (!isEnded(job.state)) {
    let readAtMs = performance.now();
    for await (const event of sms.events(`/v1/jobs/${job.id}/events`, job.seq)) {
      const turned = event.kind === "job.state";
      if (!turned && performance.now() - readAtMs < refreshMs) continue;
      await refresh();
      readAtMs = performance.now();
      await show();
      if (isEnded(job.state)) break;
    }
    // A connection that ended without the job: look how it stands, and follow again.
    await refresh();
    await show();
  }
  return job;
}

/** 0 if the job succeeded, else 1. */
export function exitCodeOf(job: Job): number {
  return job.state === "succeeded" ? 0 : 1;
}
