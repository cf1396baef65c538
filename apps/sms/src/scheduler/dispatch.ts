/**
 * Carries assigned attempts to the queues of their nodes. The record is the truth:
 * what fails here is added again by the reconciler under the same job id.
 */
import type { NodeId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import {
  type AttemptJob,
  attemptJobId,
  type Delivery,
  nodeQueueName,
} from "@spear/shared/queue.ts";
import { type JobsOptions, Queue } from "bullmq";
import type { Redis } from "ioredis";

/** Most attempts in one delivery, and most bytes of their specs where there are several. */
const deliveryAttempts = 250;
const deliveryBytes = 1 << 20;
/** Most deliveries in one call, so that no pipeline grows without bound. */
const callDeliveries = 64;

const jobOptions: JobsOptions = {
  attempts: 1,
  removeOnComplete: true,
  removeOnFail: { count: 1_000, age: 24 * 3_600 },
};

/** What the services need of it; a simulation has its own. */
export type Dispatch = Pick<Dispatcher, "send" | "sendAgain" | "forget" | "settled">;

export class Dispatcher implements AsyncDisposable {
  readonly #redis: Redis;
  readonly #prefix: string;
  readonly #log: Log;
  readonly #queues = new Map<NodeId, Queue<Delivery>>();
  readonly #waiting = new Map<NodeId, AttemptJob[]>();
  readonly #again = new Map<NodeId, AttemptJob[]>();
  #flushing: Promise<void> | undefined;

  /** `redis` is shared by all queues and closed by its owner. */
  constructor(redis: Redis, prefix: string, log: Log) {
    this.#redis = redis;
    this.#prefix = prefix;
    this.#log = log;
  }

  #queue(nodeId: NodeId): Queue<Delivery> {
    let queue = this.#queues.get(nodeId);
    if (queue === undefined) {
      queue = new Queue<Delivery>(nodeQueueName(nodeId), {
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
    this.#keep(this.#waiting, nodeId, job);
  }

  /**
   * Adds an attempt that may be in the queue already, in a delivery of its own: under
   * its own job id it is added once, however often this is called.
   */
  sendAgain(nodeId: NodeId, job: AttemptJob): void {
    this.#keep(this.#again, nodeId, job);
  }

  #keep(waiting: Map<NodeId, AttemptJob[]>, nodeId: NodeId, job: AttemptJob): void {
    const jobs = waiting.get(nodeId);
    if (jobs === undefined) waiting.set(nodeId, [job]);
    else jobs.push(job);
    this.#flushing ??= new Promise<void>((resolve) => setImmediate(resolve)).then(() =>
      this.#flush(),
    );
  }

  async #flush(): Promise<void> {
    while (this.#waiting.size + this.#again.size > 0) {
      const round = [...this.#waiting].map(([nodeId, jobs]) => ({
        nodeId,
        deliveries: deliveriesOf(jobs),
      }));
      for (const [nodeId, jobs] of this.#again) {
        round.push({ nodeId, deliveries: jobs.map((job) => ({ attempts: [job] })) });
      }
      this.#waiting.clear();
      this.#again.clear();
      await Promise.all(
        round.map(async ({ nodeId, deliveries }) => {
          for (let at = 0; at < deliveries.length; at += callDeliveries) {
            await this.#add(nodeId, deliveries.slice(at, at + callDeliveries));
          }
        }),
      );
    }
    this.#flushing = undefined;
  }

  async #add(nodeId: NodeId, deliveries: readonly Delivery[]): Promise<void> {
    try {
      await this.#queue(nodeId).addBulk(deliveries.map(jobOf));
    } catch (error) {
      this.#log.warn({ err: error, nodeId }, "adding to a queue failed");
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

  /** Deliveries that wait in a node's queue. */
  depth(nodeId: NodeId): Promise<number> {
    return this.#queue(nodeId).getWaitingCount();
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

/** Attempts in as few deliveries as the bounds allow. */
function deliveriesOf(jobs: readonly AttemptJob[]): Delivery[] {
  const deliveries: Delivery[] = [];
  let bytes = 0;
  for (const job of jobs) {
    const size = jobs.length === 1 ? 0 : JSON.stringify(job.spec).length;
    const last = deliveries.at(-1);
    if (
      last === undefined ||
      last.attempts.length === deliveryAttempts ||
      bytes + size > deliveryBytes
    ) {
      deliveries.push({ attempts: [job] });
      bytes = size;
    } else {
      last.attempts.push(job);
      bytes += size;
    }
  }
  return deliveries;
}

function jobOf(delivery: Delivery): { name: string; data: Delivery; opts: JobsOptions } {
  const [first] = delivery.attempts;
  if (first === undefined) throw new TypeError("a delivery carries something");
  const more = delivery.attempts.length - 1;
  const name = first.spec.name ?? "attempt";
  return {
    name: more === 0 ? name : `${name} and ${more} more`,
    data: delivery,
    opts: { ...jobOptions, jobId: attemptJobId(first.taskId, first.attempt) },
  };
}
