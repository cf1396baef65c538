/**
 * Carries assigned attempts to the queues of their nodes. The record is the truth:
 * what fails here is added again by the reconciler under the same job id.
 */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import { type AttemptJob, attemptJobId, nodeQueueName } from "@spear/shared/queue.ts";
import { type JobsOptions, Queue } from "bullmq";
import type { Redis } from "ioredis";

/** Most jobs in one call, so that no pipeline grows without bound. */
const batch = 1_000;

const jobOptions: JobsOptions = {
  attempts: 1,
  removeOnComplete: true,
  removeOnFail: { count: 1_000, age: 24 * 3_600 },
};

/** What the services need of it; a simulation has its own. */
export type Dispatch = Pick<Dispatcher, "send" | "withdraw" | "forget" | "settled">;

export class Dispatcher implements AsyncDisposable {
  readonly #redis: Redis;
  readonly #prefix: string;
  readonly #log: Log;
  readonly #queues = new Map<NodeId, Queue<AttemptJob>>();
  readonly #waiting = new Map<NodeId, AttemptJob[]>();
  #flushing: Promise<void> | undefined;

  /** `redis` is shared by all queues and closed by its owner. */
  constructor(redis: Redis, prefix: string, log: Log) {
    this.#redis = redis;
    this.#prefix = prefix;
    this.#log = log;
  }

  #queue(nodeId: NodeId): Queue<AttemptJob> {
    let queue = this.#queues.get(nodeId);
    if (queue === undefined) {
      queue = new Queue<AttemptJob>(nodeQueueName(nodeId), {
        connection: this.#redis,
        prefix: this.#prefix,
        skipMetasUpdate: true,
      });
      queue.on("error", (error) => this.#log.warn({ err: error, nodeId }, "queue error"));
      this.#queues.set(nodeId, queue);
    }
    return queue;
  }

  /** Adds an attempt soon; those of one turn of the event loop travel together. */
  send(nodeId: NodeId, job: AttemptJob): void {
    const waiting = this.#waiting.get(nodeId);
    if (waiting === undefined) this.#waiting.set(nodeId, [job]);
    else waiting.push(job);
    this.#flushing ??= new Promise<void>((resolve) => setImmediate(resolve)).then(() =>
      this.#flush(),
    );
  }

  async #flush(): Promise<void> {
    while (this.#waiting.size > 0) {
      const round = [...this.#waiting];
      this.#waiting.clear();
      await Promise.all(
        round.map(async ([nodeId, jobs]) => {
          for (let at = 0; at < jobs.length; at += batch) {
            await this.#add(nodeId, jobs.slice(at, at + batch));
          }
        }),
      );
    }
    this.#flushing = undefined;
  }

  async #add(nodeId: NodeId, jobs: AttemptJob[]): Promise<void> {
    try {
      await this.#queue(nodeId).addBulk(
        jobs.map((data) => ({
          name: data.spec.name ?? "attempt",
          data,
          opts: {
            ...jobOptions,
            jobId: attemptJobId(data.taskId, data.attempt),
          },
        })),
      );
    } catch (error) {
      this.#log.warn({ err: error, nodeId, jobs: jobs.length }, "adding to a queue failed");
    }
  }

  /** Takes an attempt out of its node's queue, if nobody has begun it. Best effort. */
  async withdraw(nodeId: NodeId, taskId: TaskId, attempt: number): Promise<void> {
    try {
      await this.#queue(nodeId).remove(attemptJobId(taskId, attempt));
    } catch (error) {
      this.#log.debug({ err: error, nodeId, taskId }, "withdrawing from a queue failed");
    }
  }

  /** Removes the queue of a node that will not come back to it. */
  async forget(nodeId: NodeId): Promise<void> {
    const queue = this.#queue(nodeId);
    this.#queues.delete(nodeId);
    try {
      await queue.obliterate({ force: true });
    } catch (error) {
      this.#log.warn({ err: error, nodeId }, "removing a queue failed");
    }
    await queue.close();
  }

  /** Resolves when everything sent so far was added or given to the reconciler. */
  async settled(): Promise<void> {
    await this.#flushing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.settled();
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
  }
}
