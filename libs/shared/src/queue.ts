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

/** Id of the BullMQ job; the same attempt added twice is one job. */
export function attemptJobId(task: TaskId, attempt: number): string {
  return `${task}-${attempt}`;
}
