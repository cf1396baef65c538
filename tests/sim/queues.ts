/** The simulated queues of nodes: at least once, and once per job id while it is known. */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import { type AttemptJob, attemptJobId } from "@spear/shared/queue.ts";
import type { Dispatch } from "../../apps/sms/src/scheduler/dispatch.ts";
import type { SimRedis } from "./redis.ts";
import type { Process } from "./world.ts";

/** How long a job of a node that died stays with it, in milliseconds. */
const stalledMs = 1_000;

export class SimQueue {
  readonly #waiting = new Map<string, AttemptJob>();
  readonly #active = new Map<string, AttemptJob>();
  /** Called when there is a job to take. */
  onJob: () => void = () => undefined;

  add(job: AttemptJob): void {
    const id = attemptJobId(job.taskId, job.attempt);
    if (this.#active.has(id)) return;
    this.#waiting.set(id, job);
    this.onJob();
  }

  take(): AttemptJob | undefined {
    for (const [id, job] of this.#waiting) {
      this.#waiting.delete(id);
      this.#active.set(id, job);
      return job;
    }
    return undefined;
  }

  /** The node is through with it. */
  done({ taskId, attempt }: { taskId: TaskId; attempt: number }): void {
    this.#active.delete(attemptJobId(taskId, attempt));
  }

  clear(): void {
    this.#waiting.clear();
  }

  /** Its node died: what it had is given out again after a while. */
  stall(process: Process): void {
    const jobs = [...this.#active];
    process.world.after(stalledMs, undefined, () => {
      for (const [id, job] of jobs) if (this.#active.delete(id)) this.add(job);
    });
  }
}

export class SimQueues {
  readonly #redis: SimRedis;
  readonly #queues = new Map<NodeId, SimQueue>();

  constructor(redis: SimRedis) {
    this.#redis = redis;
  }

  of(node: NodeId): SimQueue {
    let queue = this.#queues.get(node);
    if (queue === undefined) this.#queues.set(node, (queue = new SimQueue()));
    return queue;
  }

  /** The dispatcher of one SMS; what it sends while Redis is away is lost. */
  dispatcher(process: Process): Dispatch {
    const soon = (work: () => void) =>
      new Promise<void>((resolve) => {
        process.after(process.world.random.next() * 3, () => {
          if (!this.#redis.away) work();
          resolve();
        });
      });
    const send: Dispatch["send"] = (nodeId, job) => void soon(() => this.of(nodeId).add(job));
    return {
      send,
      sendAgain: send,
      forget: (nodeId) => soon(() => this.of(nodeId).clear()),
      settled: () => Promise.resolve(),
    };
  }
}
