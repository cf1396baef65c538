/**
 * The clock of schedules: a BullMQ job scheduler for each, and a worker in every SMS, of
 * which one gets each tick. It only says when to look: what is due follows from the
 * schedule's record, so a tick that is lost, late or doubled changes nothing.
 */
import { Fault } from "@spear/shared/fault.ts";
import type { Log } from "@spear/shared/log.ts";
import { Queue, Worker } from "bullmq";
import type { Redis } from "ioredis";
import type { Cron } from "./times.ts";

const queueName = "schedules";

export class ScheduleTimer implements AsyncDisposable {
  readonly #queue: Queue;
  readonly #worker: Worker;

  /** `redis` blocks and is closed by its owner; `tick` is called with a schedule's name. */
  constructor(redis: Redis, prefix: string, log: Log, tick: (name: string) => Promise<void>) {
    this.#queue = new Queue(queueName, { connection: redis, prefix });
    this.#worker = new Worker(queueName, ({ name }) => tick(name), {
      connection: redis,
      prefix,
      runRetryDelay: 500,
    });
    const onError = (error: Error) => log.warn({ err: error }, "schedule timer error");
    this.#queue.on("error", onError);
    this.#worker.on("error", onError);
    this.#worker.on("failed", (job, error) => {
      const fault = Fault.from(error);
      log.warn({ err: fault.cause ?? fault, schedule: job?.name }, "a schedule's tick failed");
    });
  }

  /** Ticks at these times from now on. */
  async set(name: string, { cron, timeZone = "UTC" }: Cron): Promise<void> {
    await this.#queue.upsertJobScheduler(
      name,
      { pattern: cron, tz: timeZone },
      {
        name,
        opts: {
          attempts: 100,
          backoff: { type: "fixed", delay: 2_000 },
          removeOnComplete: true,
          removeOnFail: true,
        },
      },
    );
  }

  /** True if it ticks for that schedule. */
  async has(name: string): Promise<boolean> {
    return (await this.#queue.getJobScheduler(name)) !== undefined;
  }

  async clear(name: string): Promise<void> {
    await this.#queue.removeJobScheduler(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.close(true);
    await this.#queue.close();
  }
}
