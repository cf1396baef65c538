/**
 * The reconciler: compares records with leases, queues and commits, and repairs
 * what a crash between two steps left. The leader runs it; every repair is idempotent
 * and fenced, so that two who both believe to lead do no harm.
 */
import type { Clock } from "@spear/shared/clock.ts";
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { OutputObject } from "@spear/shared/task.ts";
import type { Nodes } from "../nodes/nodes.ts";
import type { RecordStore } from "../tasks/store.ts";
import type { Reports } from "../tasks/reports.ts";
import type { Dispatch } from "./dispatch.ts";

/** An attempt that is assigned longer than this gets its queue entry again, in milliseconds. */
const undeliveredMs = 2_000;
const page = 500;

export class Reconciler {
  readonly #tasks: RecordStore;
  readonly #nodes: Nodes;
  readonly #reports: Reports;
  readonly #dispatcher: Dispatch;
  readonly #clock: Clock;

  constructor(deps: {
    tasks: RecordStore;
    nodes: Nodes;
    reports: Reports;
    dispatcher: Dispatch;
    clock: Clock;
  }) {
    this.#tasks = deps.tasks;
    this.#nodes = deps.nodes;
    this.#reports = deps.reports;
    this.#dispatcher = deps.dispatcher;
    this.#clock = deps.clock;
  }

  /** `epoch`: of the lead under which it runs. */
  async step(signal: AbortSignal, epoch?: number): Promise<void> {
    await this.#nodes.giveUpExpired(epoch);
    await this.#nodes.moveLeftBehind();
    await this.#redeliver(signal);
    await this.#resumeCommits(signal);
    await this.#tasks.removeExpired(this.#clock.nowMs(), page);
  }

  /** Adds the queue entry of every attempt that has waited long; what is there already stays one. */
  async #redeliver(signal: AbortSignal): Promise<void> {
    for await (const id of this.#idsIn("assigned", signal)) {
      const record = await this.#tasks.get(id);
      if (record === undefined || record.task.state !== "assigned") continue;
      const { task } = record;
      if (this.#clock.nowMs() - (task.assignedAtMs ?? 0) < undeliveredMs) continue;
      const spec = await this.#tasks.spec(id);
      if (spec === undefined || task.nodeId === undefined) continue;
      this.#dispatcher.sendAgain(task.nodeId as NodeId, {
        taskId: id,
        attempt: task.attempt,
        spec,
      });
    }
    await this.#dispatcher.settled();
  }

  /** Goes on with commits whose publishing was cut short. */
  async #resumeCommits(signal: AbortSignal): Promise<void> {
    for await (const id of this.#idsIn("running", signal)) {
      const staged = await this.#tasks.stagedOutputs(id);
      if (staged === undefined) continue;
      const record = await this.#tasks.get(id);
      if (record !== undefined)
        await this.#reports.resumeCommit(record, staged satisfies OutputObject[]);
    }
  }

  async *#idsIn(state: "assigned" | "running", signal: AbortSignal): AsyncGenerator<TaskId> {
    let after: TaskId | undefined;
    while (!signal.aborted) {
      const ids = await this.#tasks.idsAfter(state, after, page);
      yield* ids;
      if (ids.length < page) return;
      after = ids.at(-1);
    }
  }
}
