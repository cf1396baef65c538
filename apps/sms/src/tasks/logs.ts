/** Output of a task, read from its node over the node's session, across attempts. */
import type { LogChunk } from "@spear/proto/gen/spear/common/v1/task.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import { isTerminal } from "@spear/shared/state.ts";
import type { Event, Task } from "@spear/shared/task.ts";
import type { EventLog } from "../events/events.ts";
import type { Sessions } from "../nodes/sessions.ts";
import type { Tasks } from "./tasks.ts";

export interface LogRequest {
  id: TaskId;
  /** "stdout", "stderr" or "" for both. */
  stream: string;
  follow: boolean;
  tailBytes: number | undefined;
  /** 0: the current or last. */
  attempt: number;
}

/** A piece of output, or at last the task as it then stands. */
export type LogFrame = LogChunk | { end: Task };

export class TaskLogs {
  readonly #tasks: Tasks;
  readonly #events: EventLog;
  readonly #sessions: Sessions;

  constructor(deps: { tasks: Tasks; events: EventLog; sessions: Sessions }) {
    this.#tasks = deps.tasks;
    this.#events = deps.events;
    this.#sessions = deps.sessions;
  }

  /**
   * Chunks in order, last one that carries the task. With `follow`, waits for the
   * task to start and goes on through its attempts until it ends.
   * Throws `task_not_found`, or `logs_unavailable` if the node is away.
   */
  async *read(request: LogRequest, signal: AbortSignal): AsyncGenerator<LogFrame> {
    let task = await this.#tasks.get(request.id);
    let tailBytes = request.tailBytes;
    let done = request.attempt > 0 ? request.attempt - 1 : Math.max(0, task.attempt - 1);
    if (request.attempt > task.attempt) {
      throw new Fault("invalid_argument", `attempt: the task has had ${task.attempt} so far`, {
        field: "attempt",
      });
    }
    while (!signal.aborted) {
      // The attempt to read next, once some node has begun it.
      const next = request.attempt > 0 ? request.attempt : task.attempt;
      const begun = next > done && (next < task.attempt || task.state !== "assigned");
      if (begun && task.nodeId !== undefined && task.startedAtMs !== undefined) {
        const nodeId = (await this.#nodeOf(task, next)) ?? (task.nodeId as NodeId);
        yield* this.#readAttempt(nodeId, task, next, request, tailBytes, signal);
        tailBytes = undefined;
        done = next;
        if (!request.follow || request.attempt > 0) break;
        task = await this.#tasks.get(request.id);
      }
      if (!request.follow || isTerminal(task.state)) break;
      task = await this.#changed(task, signal);
    }
    yield { end: await this.#tasks.get(request.id) };
  }

  async *#readAttempt(
    nodeId: NodeId,
    task: Task,
    attempt: number,
    request: LogRequest,
    tailBytes: number | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<LogChunk> {
    const session = this.#sessions.get(nodeId);
    if (session === undefined) {
      if (request.follow && !isTerminal(task.state)) return;
      throw new Fault("logs_unavailable", `node ${nodeId}, which has the output, is away`, {
        help: "try again when the node is back",
      });
    }
    try {
      yield* session.readLogs(
        { taskId: request.id, attempt, stream: request.stream, follow: request.follow, tailBytes },
        signal,
      );
    } catch (error) {
      // A node that goes away while we follow: the task will go on elsewhere.
      if (request.follow && error instanceof Fault && error.code === "logs_unavailable") return;
      throw error;
    }
  }

  /** The node that ran an attempt, from the task's history. */
  async #nodeOf(task: Task, attempt: number): Promise<NodeId | undefined> {
    const events = await this.#tasks.events(task.id as TaskId);
    return events.find((event) => event.attempt === attempt && event.to === "assigned")?.nodeId as
      | NodeId
      | undefined;
  }

  /** The task after its next change. */
  async #changed(task: Task, signal: AbortSignal): Promise<Task> {
    const ofTask = (event: Event) => event.taskId === task.id;
    for await (const _ of this.#events.follow(task.seq, ofTask, signal)) break;
    return this.#tasks.get(task.id as TaskId);
  }
}
