/**
 * Places what waits. A step looks once at each class of equal need, in the order of
 * its first task's rank, and stops with a class at the first task that fits nowhere:
 * a backlog of any length costs no more than its number of classes.
 */
import type { Clock } from "@spear/shared/clock.ts";
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Event, TaskSpec } from "@spear/shared/task.ts";
import type { EventLog } from "../events/events.ts";
import type { RecordStore } from "../tasks/store.ts";
import type { Dispatcher } from "./dispatch.ts";
import { adjust, type Demand, demandOf, place, type Policy } from "./place.ts";
import type { ClusterView } from "./view.ts";

/** Most tasks of one class that are placed in one go. */
const batch = 256;
/** A full look at all nodes at least this often, in milliseconds. */
const refreshAllMs = 5_000;
const periodMs = 1_000;

export class Scheduler implements AsyncDisposable {
  readonly #records: RecordStore;
  readonly #view: ClusterView;
  readonly #dispatcher: Dispatcher;
  readonly #clock: Clock;
  readonly #policy: Policy;
  readonly #loop: Loop;
  readonly #stopListening: () => void;
  #refreshedAllMs = 0;
  #due: ReturnType<typeof setTimeout> | undefined;

  constructor(deps: {
    records: RecordStore;
    view: ClusterView;
    dispatcher: Dispatcher;
    events: EventLog;
    clock: Clock;
    policy: Policy;
    log: Log;
  }) {
    this.#records = deps.records;
    this.#view = deps.view;
    this.#dispatcher = deps.dispatcher;
    this.#clock = deps.clock;
    this.#policy = deps.policy;
    this.#stopListening = deps.events.listen((event) => this.#onEvent(event));
    this.#loop = new Loop("scheduler", periodMs, deps.log, () => this.#step());
  }

  /** The node that a new task should try first; undefined if it would have to wait. */
  propose(spec: TaskSpec): NodeId | undefined {
    const demand = demandOf(spec);
    const { nodeId } = place(demand, this.#view.nodes, this.#policy);
    const node = nodeId === undefined ? undefined : this.#view.get(nodeId);
    if (node !== undefined) adjust(node, demand.need, 1);
    return nodeId;
  }

  /** What `propose` counted did not come about. */
  withdrawProposal(nodeId: NodeId): void {
    this.#view.markDirty(nodeId);
  }

  /** Something waits that could perhaps be placed. */
  wake(): void {
    this.#loop.signalled();
  }

  /** Room on a node was given back or its standing changed. */
  #onEvent(event: Event): void {
    const nodeId = event.nodeId as NodeId | undefined;
    if (event.kind === "node.state") {
      if (nodeId !== undefined) this.#view.markDirty(nodeId);
      this.wake();
    } else if (event.kind === "task.state" && nodeId !== undefined) {
      if (event.to !== "running") this.#view.markDirty(nodeId);
      if (event.from === "assigned" || event.from === "running") {
        if (event.to !== "running") this.wake();
      }
    }
    if (event.kind === "task.state" && event.to === "pending") this.wake();
  }

  async #step(): Promise<void> {
    const now = this.#clock.nowMs();
    while ((await this.#records.promote(now, batch)) === batch);
    if (now - this.#refreshedAllMs > refreshAllMs) {
      await this.#view.refreshAll();
      this.#refreshedAllMs = now;
    }
    for (const waiting of await this.#records.waitingClasses(0, 1_000)) {
      while (await this.#placeClass(waiting.class));
    }
    await this.#scheduleNextDue();
  }

  /** Places up to a batch of a class; true if there may be more that fit. */
  async #placeClass(cls: string): Promise<boolean> {
    const ids = await this.#records.waiting(cls, batch);
    const [head] = ids;
    if (head === undefined) return false;
    const spec = await this.#records.spec(head);
    if (spec === undefined) return false;
    await this.#view.refresh();
    const demand = demandOf(spec);
    const chosen: { id: TaskId; nodeId: NodeId }[] = [];
    for (const id of ids) {
      const { nodeId } = place(demand, this.#view.nodes, this.#policy);
      const node = nodeId === undefined ? undefined : this.#view.get(nodeId);
      if (node === undefined) break;
      adjust(node, demand.need, 1);
      chosen.push({ id, nodeId: node.id });
    }
    const placed = await Promise.all(
      chosen.map(({ id, nodeId }) => this.#assign(id, nodeId, demand)),
    );
    return chosen.length === batch && placed.some((ok) => ok);
  }

  async #assign(id: TaskId, nodeId: NodeId, demand: Demand): Promise<boolean> {
    const outcome = await this.#records.transition(
      { id, to: "assigned", nodeId, reason: "placed" },
      this.#clock.nowMs(),
    );
    if (outcome.code !== "ok") {
      // Another replica was first, or the view was behind: look again.
      this.#view.markDirty(nodeId);
      return false;
    }
    const spec = await this.#records.spec(id);
    if (spec !== undefined && demand.runtime in spec) {
      this.#dispatcher.send(nodeId, { taskId: id, attempt: outcome.attempt, spec });
    }
    return true;
  }

  /** Wakes when the next delayed task is due, not a period later. */
  async #scheduleNextDue(): Promise<void> {
    clearTimeout(this.#due);
    const due = await this.#records.nextDueMs();
    if (due === undefined) return;
    const inMs = due - this.#clock.nowMs();
    if (inMs < periodMs) this.#due = setTimeout(() => this.wake(), Math.max(0, inMs));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopListening();
    clearTimeout(this.#due);
    await this.#loop[Symbol.asyncDispose]();
  }
}
