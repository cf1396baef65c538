/** The name of an attempt: its task and its number, the fencing token. */
import { parseId, type TaskId } from "@spear/shared/ids.ts";
import { attemptJobId } from "@spear/shared/queue.ts";

export interface AttemptId {
  readonly taskId: TaskId;
  readonly attempt: number;
}

/** One string for both; also the name of its directories. */
export function attemptKey({ taskId, attempt }: AttemptId): string {
  return attemptJobId(taskId, attempt);
}

/** An attempt that is named on the wire. Throws `invalid_argument`. */
export function attemptOf({ taskId, attempt }: { taskId: string; attempt: number }): AttemptId {
  return { taskId: parseId("task", taskId, "task_id"), attempt };
}
