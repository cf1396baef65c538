/**
 * The node's BullMQ queue: takes attempts as fast as there are slots. The queue
 * only carries work; whether an attempt may run is for SMS to say (T3), so an
 * entry that comes twice, or late, does no harm.
 */
import { UnrecoverableError, Worker } from "bullmq";
import { systemClock } from "@spear/shared/clock.ts";
import type { NodeId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import { nodeQueueName, type AttemptJob, type Delivery } from "@spear/shared/queue.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import type { Outcome } from "./execution.ts";

export interface IntakeOptions {
  /** Most deliveries at once: each has an attempt that holds one of the node's slots. */
  slots: number;
  run: (job: AttemptJob) => Promise<Outcome>;
  log: Log;
}

/** Where the node's queue is. */
export interface QueueAddress {
  nodeId: NodeId;
  redisUrl: string;
  queuePrefix: string;
}

/** How long an orderly end of the connection may take. */
const closeTimeoutMs = 2_000;

/** Failed entries that the board shows; the truth is in the task's record. */
const failedKept = 1_000;

class Intake implements AsyncDisposable {
  readonly #redis: ReturnType<typeof connectRedis>;
  readonly #worker: Worker<Delivery, void>;

  constructor({ nodeId, redisUrl, queuePrefix }: QueueAddress, options: IntakeOptions) {
    const { slots, run, log } = options;
    this.#redis = connectRedis(redisUrl, "blocking", log);
    this.#worker = new Worker<Delivery, void>(
      nodeQueueName(nodeId),
      async ({ data }) => {
        const outcomes = await Promise.all(data.attempts.map(run));
        // An entry that nobody finishes is given out again when its lock runs out.
        if (outcomes.some(({ left }) => left === "unclaimed")) await new Promise(() => undefined);
        const failures = outcomes.flatMap((outcome) =>
          outcome.left === "failed" ? [outcome.message] : [],
        );
        if (failures.length > 0) throw new UnrecoverableError(failures.join("\n"));
      },
      {
        connection: this.#redis,
        prefix: queuePrefix,
        concurrency: slots,
        removeOnComplete: { count: 0 },
        removeOnFail: { count: failedKept },
        // The node is alone on its queue: locks matter only across its own restarts,
        // and attempts are bounded by SMS, not by how often an entry was given out.
        lockDuration: 10_000,
        stalledInterval: 5_000,
        maxStalledCount: 1_000_000,
        runRetryDelay: 500,
      },
    );
    let said = "";
    this.#worker.on("error", (error) => {
      // BullMQ says the same at every try.
      if (error.message !== said) log.warn({ err: error }, "queue trouble");
      said = error.message;
    });
  }

  get connected(): boolean {
    return this.#redis.status === "ready";
  }

  async pause(): Promise<void> {
    await this.#worker.pause(true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#worker.close(true).catch(() => undefined);
    await Promise.race([closed, systemClock.wait(closeTimeoutMs)]);
    this.#redis.disconnect();
  }
}

/** The intake once the node knows where its queue is; it moves if the queue does. */
export class IntakeSwitch implements AsyncDisposable {
  readonly #options: IntakeOptions;
  #address: QueueAddress | undefined;
  #intake: Intake | undefined;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  get connected(): boolean {
    return this.#intake?.connected === true;
  }

  async connect(address: QueueAddress): Promise<void> {
    if (Bun.deepEquals(address, this.#address)) return;
    await this.#intake?.[Symbol.asyncDispose]();
    this.#address = address;
    this.#intake = new Intake(address, this.#options);
  }

  /** Takes nothing more; what was taken goes on. */
  async pause(): Promise<void> {
    await this.#intake?.pause();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#intake?.[Symbol.asyncDispose]();
  }
}
