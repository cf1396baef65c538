/**
 * The Task Controller: every attempt that this node holds or lately held, from
 * its queue, from the session and from the local API.
 */
import { mkdirSync, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { taskStateToProto } from "@spear/proto/enums.ts";
import type { LogChunk } from "@spear/proto/gen/spear/common/v1/task.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { TaskId } from "@spear/shared/ids.ts";
import { aborted } from "@spear/shared/lifecycle.ts";
import type { OutputPiece } from "@spear/shared/output.ts";
import type { AttemptJob } from "@spear/shared/queue.ts";
import { readSealed } from "@spear/shared/sealed-output.ts";
import type { StoreClient } from "@spear/shared/store/client.ts";
import { runtimeOf, type Runtime } from "@spear/shared/task.ts";
import type { Agent } from "../agents/agent.ts";
import { attemptKey, type AttemptId } from "./attempt.ts";
import { Execution, type ExecutionDeps, type LeftBehind, type Outcome } from "./execution.ts";
import type { LogQuery } from "./attemptlog.ts";
import { findSealed } from "./sealer.ts";
import type { Execution as ExecutionView } from "./schema.ts";

/** Ended attempts that can still be asked about. */
const mostEnded = 1_000;

export interface Agents {
  /** The agent of a runtime that is offered now. */
  get(runtime: Runtime): Agent | undefined;
  /** The agent of a runtime, offered or not. */
  known(runtime: Runtime): Agent | undefined;
}

export interface ExecutionsDeps extends ExecutionDeps {
  agents: Agents;
  /** True if an end of the attempt waits for SMS. */
  hasEnd: (id: AttemptId) => boolean;
  /** Has the output that was sealed. */
  store: StoreClient;
  /** True if it is run again here when an earlier run of the node has lost it. */
  beginsAgain: (id: AttemptId) => boolean;
  /** False if it has no room beside what SMS does not know of. */
  hasRoomFor: (job: AttemptJob) => boolean;
  /** An attempt has left the node. */
  onRoom: () => void;
}

interface Held {
  execution: Execution;
  outcome: Promise<Outcome>;
}

export class Executions {
  readonly #deps: ExecutionsDeps;
  readonly #active = new Map<string, Held>();
  /** Oldest first. */
  readonly #ended = new Map<string, Execution>();
  #stopping = false;

  constructor(deps: ExecutionsDeps) {
    this.#deps = deps;
    for (const dir of [deps.workDir, deps.keptDir]) {
      mkdirSync(dir, { recursive: true, mode: 0o711 });
    }
  }

  /** Attempts that run, or wait for their claim. */
  active(): AttemptId[] {
    return [...this.#active.values()].map(({ execution }) => execution.id);
  }

  /** All that has not ended, with what each needs; an end that waits for SMS needs nothing. */
  inUse(): AttemptJob[] {
    return [...this.#active.values()]
      .filter(({ execution }) => !execution.ended)
      .map(({ execution: { id, spec } }) => ({ ...id, spec }));
  }

  isHeld(id: AttemptId): boolean {
    return this.#active.has(attemptKey(id));
  }

  /** What is known of an attempt that is held or was lately: what it is, and since when. */
  recall(id: AttemptId): { job: AttemptJob; startedAtMs: number } | undefined {
    const key = attemptKey(id);
    const execution = this.#active.get(key)?.execution ?? this.#ended.get(key);
    if (execution === undefined) return undefined;
    const { acceptedAtMs, startedAtMs = acceptedAtMs } = execution.view();
    return { job: { ...execution.id, spec: execution.spec }, startedAtMs };
  }

  get size(): number {
    return this.#active.size;
  }

  /**
   * Takes over what an earlier run left running where the agent can, and ends the
   * rest: each such attempt is reported as the node's failure. Removes work
   * directories that nothing uses. Called once, before any attempt is accepted.
   */
  async recover(): Promise<void> {
    const { running, workDir } = this.#deps;
    for (const [key, left] of running.entries()) {
      if (!(await this.#adopt(left))) await this.#bury(left);
      if (!this.#active.has(key)) running.delete(key);
    }
    for (const name of readdirSync(workDir)) {
      if (this.#active.has(name)) continue;
      await rm(join(workDir, name), { recursive: true, force: true });
    }
  }

  async #adopt(left: LeftBehind): Promise<boolean> {
    const { taskId, attempt, runtime, spec } = left;
    const id = { taskId, attempt };
    const agent = this.#deps.agents.known(runtime);
    // An end that was noted already is the truth, whatever still runs.
    if (agent === undefined || this.#deps.hasEnd(id)) return false;
    // Nobody knows whether the node still owns it.
    if (spec.exclusive === true) return false;
    const execution = new Execution(id, spec, agent, this.#deps);
    if (!(await execution.adopt(left))) return false;
    this.#deps.log.info({ ...id, runtime }, "took over what an earlier run left");
    void this.#hold(execution, () => execution.resume());
    return true;
  }

  async #bury({ taskId, attempt, runtime, handle }: LeftBehind): Promise<void> {
    const { agents, upstream, hasEnd, beginsAgain, log } = this.#deps;
    const id = { taskId, attempt };
    log.warn({ ...id, runtime }, "ending what an earlier run left");
    try {
      await agents.known(runtime)?.reap(handle);
    } catch (error) {
      log.error({ err: error, ...id }, "what an earlier run left can't be ended now");
    }
    if (hasEnd(id) || beginsAgain(id)) return;
    void upstream.deliver(id, {
      $case: "exit",
      value: {
        state: taskStateToProto("failed"),
        signal: "",
        failure: { code: "node_restarted", message: "the node was started anew under it" },
        outputs: [],
        nodeFault: true,
        noOutput: false,
        hostcalls: [],
      },
    });
  }

  /**
   * Runs an attempt to its end. The same attempt given twice runs once; one whose
   * end is on its way to SMS does not run again (T3).
   */
  run({ taskId, attempt, spec }: AttemptJob): Promise<Outcome> {
    const id = { taskId, attempt };
    const key = attemptKey(id);
    const held = this.#active.get(key);
    if (held !== undefined) return held.outcome;
    if (this.#stopping) return Promise.resolve({ left: "unclaimed" });
    if (this.#deps.hasEnd(id)) return Promise.resolve({ left: "done" });
    const runtime = runtimeOf(spec);
    const agent = this.#deps.agents.get(runtime);
    if (agent === undefined) {
      return this.#refuse(id, "runtime_unavailable", `the node does not offer ${runtime} now`);
    }
    if (spec.exclusive === true && !this.#deps.owned()) {
      return this.#refuse(id, "lease_lost", "the node does not know how long its lease lasts");
    }
    if (!this.#deps.hasRoomFor({ ...id, spec })) {
      return this.#refuse(id, "no_room", "tasks that were submitted to the node take its room");
    }
    const execution = new Execution(id, spec, agent, this.#deps);
    return this.#hold(execution, () => execution.run());
  }

  #hold(execution: Execution, run: () => Promise<Outcome>): Promise<Outcome> {
    const key = attemptKey(execution.id);
    const outcome = run().finally(() => {
      this.#active.delete(key);
      this.#deps.onRoom();
      this.#ended.set(key, execution);
      const [oldest] = this.#ended.keys();
      if (this.#ended.size > mostEnded && oldest !== undefined) this.#ended.delete(oldest);
    });
    this.#active.set(key, { execution, outcome });
    return outcome;
  }

  async #refuse(id: AttemptId, code: string, message: string): Promise<Outcome> {
    await this.#deps.upstream.deliver(id, {
      $case: "refusal",
      value: { failure: { code, message } },
    });
    return { left: "failed", message };
  }

  /** Ends an attempt, if it is here; it is reported as cancelled. */
  cancel(id: AttemptId): void {
    this.#active.get(attemptKey(id))?.execution.stop("cancelled");
  }

  /** Kills an attempt that is another node's now; it is not reported. */
  disown(id: AttemptId): void {
    this.#active.get(attemptKey(id))?.execution.stop("disowned");
  }

  /** The node no longer owns what it holds: ends what must never run twice at once. */
  loseOwnership(): void {
    for (const { execution } of this.#active.values()) {
      // What waits for its claim is asked about the lease when that is granted.
      if (execution.exclusive) execution.stop("lease_lost");
    }
  }

  /** Ends all attempts and takes no more; resolves when all have ended and are reported. */
  async stopAll(): Promise<void> {
    this.#stopping = true;
    const held = [...this.#active.values()];
    for (const { execution } of held) execution.stop("node_stops");
    await Promise.allSettled(held.map(({ outcome }) => outcome));
  }

  /** The newest attempt of a task, or the one that is named. Throws `task_not_found`. */
  find(taskId: TaskId, attempt = 0): Execution {
    let found: Execution | undefined;
    const all = [...this.#ended.values(), ...[...this.#active.values()].map((h) => h.execution)];
    for (const execution of all) {
      const { id } = execution;
      if (id.taskId !== taskId || (attempt > 0 && id.attempt !== attempt)) continue;
      if (found === undefined || id.attempt > found.id.attempt) found = execution;
    }
    if (found !== undefined) return found;
    throw new Fault("task_not_found", `this node holds no attempt of ${taskId}`);
  }

  /** What this node holds or lately held, newest first. */
  list(): ExecutionView[] {
    const active = [...this.#active.values()].map(({ execution }) => execution);
    return [...active.toReversed(), ...[...this.#ended.values()].toReversed()].map((execution) =>
      execution.view(),
    );
  }

  /** Every change of an attempt until it has ended. */
  async *watch(execution: Execution, signal: AbortSignal): AsyncGenerator<ExecutionView> {
    const gone = aborted(signal);
    while (!signal.aborted) {
      const { changed, ended } = execution;
      yield execution.view();
      if (ended) return;
      await Promise.race([changed, gone]);
    }
  }

  /** The attempt whose output is meant: the one that is named, or the newest here. */
  attemptOf(taskId: TaskId, attempt: number): AttemptId {
    if (attempt > 0) return { taskId, attempt };
    return this.#deps.logs.newest(taskId) ?? this.find(taskId).id;
  }

  /**
   * Output of an attempt, from this node's disk or from the store. Throws
   * `logs_unavailable` if neither has it.
   */
  async *readLogs(id: AttemptId, query: LogQuery, signal: AbortSignal): AsyncGenerator<LogChunk> {
    for await (const { stream, data, offset } of await this.#outputOf(id, query, signal)) {
      yield {
        stream,
        data: Buffer.from(data.buffer, data.byteOffset, data.byteLength),
        attempt: id.attempt,
        offset,
      };
    }
  }

  async #outputOf(
    id: AttemptId,
    query: LogQuery,
    signal: AbortSignal,
  ): Promise<AsyncIterable<OutputPiece> | Iterable<OutputPiece>> {
    const { logs, store } = this.#deps;
    const execution = this.#active.get(attemptKey(id))?.execution;
    if (query.follow) await execution?.decided(signal);
    const log = logs.find(id);
    if (log !== undefined) return log.read(query, signal);
    // There is none yet.
    if (execution !== undefined) return [];
    const sealed = store.present ? await findSealed(store, id, signal) : [];
    if (sealed.length === 0) {
      throw new Fault("logs_unavailable", "the node does not have the output of this attempt");
    }
    return readSealed(sealed, query, (objectId, range) => store.read(objectId, range, signal));
  }
}
