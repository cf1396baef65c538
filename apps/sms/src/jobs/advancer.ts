/**
 * Keeps jobs going. What has to be done for one is decided and written down by the
 * script that changes its tasks (follow.lua), in a set of jobs that are due; here that
 * is done, a bounded piece at a time (advance.lua). The set is the only thing that
 * matters: an event only makes it soon. So a crash anywhere loses nothing, and any
 * number of replicas may do the same work without doing it twice.
 */
import type { Clock } from "@spear/shared/clock.ts";
import { jobOfOne, type JobId, type TaskId } from "@spear/shared/ids.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Event } from "@spear/shared/task.ts";
import type { EventLog } from "../events/events.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import type { JobRecords } from "./redis.ts";

/** Tasks that one step may touch: some milliseconds of Redis. */
const stepTasks = 250;
/** Jobs looked at in turn, so that a large one keeps no other waiting. */
const round = 64;
/** How late a deadline, a delayed start or what an event did not announce may be seen. */
const periodMs = 250;

export class JobAdvancer implements AsyncDisposable {
  readonly #records: JobRecords;
  readonly #scheduler: Pick<Scheduler, "wake">;
  readonly #clock: Clock;
  readonly #loop: Loop;
  readonly #stopListening: () => void;

  constructor(deps: {
    records: JobRecords;
    scheduler: Pick<Scheduler, "wake">;
    events: Pick<EventLog, "listen">;
    clock: Clock;
    log: Log;
  }) {
    this.#records = deps.records;
    this.#scheduler = deps.scheduler;
    this.#clock = deps.clock;
    this.#loop = new Loop("jobs", periodMs, deps.log, (signal) => this.#step(signal));
    this.#stopListening = deps.events.listen((event) => this.#onEvent(event));
  }

  #onEvent({ kind, taskId, jobId, to }: Event): void {
    if (kind !== "task.state" || taskId === undefined || to === "assigned" || to === "running")
      return;
    if (jobId !== jobOfOne(taskId as TaskId)) this.#loop.signalled();
  }

  async #step(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const due = await this.#records.due(this.#clock.nowMs(), round);
      for (const id of due) await this.#advance(id);
      if (due.length === 0) return;
    }
  }

  /** One piece of work for a job; true if there is more. */
  async #advance(id: JobId): Promise<boolean> {
    const { more, released } = await this.#records.advance(id, this.#clock.nowMs(), stepTasks);
    if (released > 0) this.#scheduler.wake();
    return more;
  }

  /** Does all that is due for one job now. */
  async settle(id: JobId): Promise<void> {
    while (await this.#advance(id));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopListening();
    await this.#loop[Symbol.asyncDispose]();
  }
}
