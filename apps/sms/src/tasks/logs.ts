/**
 * Output of a task, across attempts: live from the node of the attempt, and from the
 * Object Store once it was sealed there. A read that loses the one goes on with the other
 * where it was; a reader sees every byte once.
 */
import type { LogChunk } from "@spear/proto/gen/spear/common/v1/task.ts";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import { outputStreams, type OutputStream } from "@spear/shared/output.ts";
import { readSealed, type SealedStream } from "@spear/shared/sealed-output.ts";
import { isTerminal } from "@spear/shared/state.ts";
import type { StoreClient } from "@spear/shared/store/client.ts";
import type { Event, Task } from "@spear/shared/task.ts";
import type { EventLog } from "../events/events.ts";
import type { NodeLogs } from "./node-logs.ts";
import type { Seals } from "./seals.ts";
import type { Tasks } from "./tasks.ts";

/** Pause before a node that is away is asked again by who follows, in milliseconds. */
const retryMs = 500;

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

export interface TaskLogsDeps {
  tasks: Tasks;
  events: EventLog;
  nodeLogs: NodeLogs;
  seals: Seals;
  store: StoreClient;
  clock: Clock;
}

export class TaskLogs {
  readonly #deps: TaskLogsDeps;

  constructor(deps: TaskLogsDeps) {
    this.#deps = deps;
  }

  /**
   * Chunks in order, last one that carries the task. With `follow`, waits for the
   * task to start and goes on through its attempts until it ends.
   * Throws `task_not_found`, or `logs_unavailable` if the node is away and nothing is sealed.
   */
  async *read(request: LogRequest, signal: AbortSignal): AsyncGenerator<LogFrame> {
    const { tasks } = this.#deps;
    let task = await tasks.get(request.id);
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
      if (next > done && (next < task.attempt || task.state !== "assigned")) {
        yield* this.#readAttempt(next, { ...request, tailBytes }, signal);
        tailBytes = undefined;
        done = next;
        if (!request.follow || request.attempt > 0) break;
        task = await tasks.get(request.id);
      }
      if (!request.follow || isTerminal(task.state)) break;
      task = await this.#changed(task, signal);
    }
    yield { end: await tasks.get(request.id) };
  }

  async *#readAttempt(
    attempt: number,
    request: LogRequest,
    signal: AbortSignal,
  ): AsyncGenerator<LogChunk> {
    const nodeId = await this.#nodeOf(request.id, attempt);
    // No node has begun it.
    if (nodeId === undefined) return;
    const seen = new Seen();
    for (let sealed = await this.#sealOf(request.id, attempt); ;) {
      try {
        const chunks =
          sealed === undefined
            ? this.#fromNode(nodeId, attempt, request, seen, signal)
            : this.#fromStore(sealed, attempt, request, seen, signal);
        for await (const chunk of chunks) {
          const news = seen.newsOf(chunk);
          if (news !== undefined) yield news;
        }
        return;
      } catch (error) {
        const lost = error instanceof Fault && error.code === "logs_unavailable";
        if (!lost || signal.aborted || sealed !== undefined) throw error;
        sealed = await this.#sealOf(request.id, attempt);
        if (sealed !== undefined) continue;
        if (!request.follow) throw error;
        const task = await this.#deps.tasks.get(request.id);
        // The task goes on elsewhere, and so do we.
        if (task.attempt > attempt || task.state === "pending") return;
        if (isTerminal(task.state)) throw error;
        await this.#deps.clock.wait(retryMs, signal);
      }
    }
  }

  #fromNode(
    nodeId: NodeId,
    attempt: number,
    { id: taskId, stream, follow, tailBytes }: LogRequest,
    seen: Seen,
    signal: AbortSignal,
  ): AsyncGenerator<LogChunk> {
    const read = { taskId, attempt, stream, follow, tailBytes: seen.any ? undefined : tailBytes };
    return this.#deps.nodeLogs.read(nodeId, read, signal);
  }

  async *#fromStore(
    sealed: readonly SealedStream[],
    attempt: number,
    { stream, tailBytes }: LogRequest,
    seen: Seen,
    signal: AbortSignal,
  ): AsyncGenerator<LogChunk> {
    const query = {
      stream: outputStreams.find((known) => known === stream),
      tailBytes: seen.any ? undefined : tailBytes,
      from: (one: OutputStream) => seen.of(one),
    };
    try {
      const { store } = this.#deps;
      const pieces = readSealed(sealed, query, (id, range) => store.read(id, range, signal));
      for await (const { data, ...piece } of pieces) {
        yield {
          ...piece,
          attempt,
          data: Buffer.from(data.buffer, data.byteOffset, data.byteLength),
        };
      }
    } catch (error) {
      if (!(error instanceof Fault && error.code === "object_not_found")) throw error;
      throw new Fault("not_found", "the output of this attempt was removed from the store");
    }
  }

  /** Where the output is in the store; undefined if it is not there, or there is no store. */
  #sealOf(id: TaskId, attempt: number): Promise<SealedStream[] | undefined> {
    const { seals, store } = this.#deps;
    return store.present ? seals.of(id, attempt) : Promise.resolve(undefined);
  }

  /** The node that ran an attempt, from the task's history; undefined if none has begun it. */
  async #nodeOf(id: TaskId, attempt: number): Promise<NodeId | undefined> {
    const events = await this.#deps.tasks.events(id);
    return events.find((event) => event.attempt === attempt && event.to === "running")?.nodeId as
      | NodeId
      | undefined;
  }

  /** The task after its next change. */
  async #changed(task: Task, signal: AbortSignal): Promise<Task> {
    const ofTask = (event: Event) => event.taskId === task.id;
    for await (const _ of this.#deps.events.follow(task.seq, ofTask, signal)) break;
    return this.#deps.tasks.get(task.id as TaskId);
  }
}

/** How far a reader has come in each stream of an attempt. */
class Seen {
  readonly #ends = new Map<string, number>();

  get any(): boolean {
    return this.#ends.size > 0;
  }

  of(stream: string): number {
    return this.#ends.get(stream) ?? 0;
  }

  /** What of a chunk is new; undefined if nothing is. */
  newsOf(chunk: LogChunk): LogChunk | undefined {
    const { stream, data, offset } = chunk;
    const known = this.of(stream);
    const end = offset + data.length;
    if (end <= known) return undefined;
    this.#ends.set(stream, end);
    if (offset >= known) return chunk;
    return { ...chunk, data: data.subarray(known - offset), offset: known };
  }
}
