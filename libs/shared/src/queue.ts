/** BullMQ's part: names of queues and what a job carries. */
import type { NodeId, TaskId } from "./ids.ts";
import type { TaskSpec } from "./task.ts";

/** The queue of one node; only its SPEARlet works on it. */
export function nodeQueueName(node: NodeId): string {
  return `attempts-${node}`;
}

/** One attempt, as it travels to its node. */
export interface AttemptJob {
  taskId: TaskId;
  attempt: number;
  spec: TaskSpec;
}

/**
 * What one BullMQ job carries: attempts of one node that were placed together. A job
 * costs the queue the same whatever it carries, so a burst of small tasks travels as few.
 */
export interface Delivery {
  attempts: AttemptJob[];
}

/** Name of an attempt, and of the BullMQ job that carries it first. */
export function attemptJobId(task: TaskId, attempt: number): string {
  return `${task}-${attempt}`;
}
