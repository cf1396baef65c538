/**
 * Tasks that a task submits. SMS ties each to the attempt that asked: a stale one
 * is refused (T3), and a cancel of the parent reaches those that are not detached.
 */
import { credentials, Metadata } from "@grpc/grpc-js";
import { taskStateFromProto } from "@spear/proto/enums.ts";
import type { Event, Task } from "@spear/proto/gen/spear/common/v1/task.ts";
import { TaskServiceClient } from "@spear/proto/gen/spear/sms/v1/task.ts";
import { Fault } from "@spear/shared/fault.ts";
import { messages, unary } from "@spear/shared/grpc/client.ts";
import type { Gives, Takes } from "@spear/shared/hostcalls.ts";
import { parseId, type TaskId } from "@spear/shared/ids.ts";
import { isTerminal, taskStates } from "@spear/shared/state.ts";
import { checkTaskSpec } from "@spear/shared/task.ts";
import type { AttemptId } from "../executions/attempt.ts";
import { specToProto } from "../executions/wire.ts";

const defaultWaitMs = 30_000;

export class Children implements Disposable {
  readonly #client: TaskServiceClient;

  constructor(smsAddress: string) {
    this.#client = new TaskServiceClient(smsAddress, credentials.createInsecure());
  }

  /** Throws `invalid_argument` naming the field of the spec, `stale_attempt`, `too_many_requests`. */
  async submit(
    { taskId, attempt }: AttemptId,
    { spec, key, detached = false }: Takes<"task.submit">,
    signal: AbortSignal,
  ): Promise<Gives<"task.submit">> {
    const request = {
      spec: specToProto(checkTaskSpec(spec)),
      // Of one task only: another's child can't be had by guessing its key.
      idempotencyKey: key === undefined ? "" : `${taskId}.${Bun.SHA256.hash(key, "hex")}`,
      parent: { taskId, attempt, detached },
    };
    const { id } = await unary(this.#client, this.#client.submitTask, request, { signal });
    return { taskId: id };
  }

  /** How a child stands when it has ended or the time is up. Throws `permission_denied`. */
  async wait(
    parent: TaskId,
    { taskId, timeoutMs = defaultWaitMs }: Takes<"task.wait">,
    signal: AbortSignal,
  ): Promise<Gives<"task.wait">> {
    let child = await this.#own(parent, taskId, signal);
    if (!isTerminal(taskStateFromProto(child.state)) && timeoutMs > 0) {
      const over = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
      await this.#ended(child, over).catch((error: unknown) => {
        if (!over.aborted) throw error;
      });
      signal.throwIfAborted();
      child = await this.#own(parent, taskId, signal);
    }
    const { state, exitCode, failure } = child;
    return {
      state: taskStateFromProto(state),
      ...(exitCode === undefined ? {} : { exitCode }),
      ...(failure === undefined ? {} : { failure }),
    };
  }

  async #ended({ id, seq }: Task, signal: AbortSignal): Promise<void> {
    const stream = this.#client.watchTasks(
      { taskId: id, afterSeq: seq, states: [] },
      new Metadata(),
    );
    for await (const { kind, to } of messages<Event>(stream, signal)) {
      if (kind === "task.state" && isEnd(to)) return;
    }
  }

  async cancel(parent: TaskId, taskId: string, signal: AbortSignal): Promise<void> {
    await this.#own(parent, taskId, signal);
    await unary(this.#client, this.#client.cancelTask, { taskId }, { signal });
  }

  /** A task, if it is a child of `parent`. Throws `permission_denied`. */
  async #own(parent: TaskId, id: string, signal: AbortSignal): Promise<Task> {
    const taskId = parseId("task", id, "taskId");
    const task = await unary(this.#client, this.#client.getTask, { taskId }, { signal });
    if (task.parentId === parent) return task;
    throw new Fault("permission_denied", `${taskId} is no child of this task`, { field: "taskId" });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

/** True for the name of a terminal state. */
function isEnd(state: string): boolean {
  return taskStates.some((one) => one === state && isTerminal(one));
}
