/**
 * Preemption: a task that waits in vain takes the room of others of lower priority on one
 * node. They wait again at no cost for their retries, and the room is kept for it as they
 * leave. One try at a time and not more often than `everyMs`, over a bounded number of
 * nodes, so that a full cluster costs no more than that and is never turned over at once.
 */
import type { Clock } from "@spear/shared/clock.ts";
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import { isPlaced } from "@spear/shared/state.ts";
import { specDefaults } from "@spear/shared/task.ts";
import { needOf, priorityOf } from "../tasks/record.ts";
import type { RecordStore } from "../tasks/store.ts";
import { type Demand, fitsEmpty, fullnessWith, type NodeView, suits } from "./place.ts";
import { evictionFor, type Eviction, type Holder } from "./preempt.ts";
import type { ClusterView } from "./view.ts";

/** Nodes that one try looks at. */
const maxNodes = 32;
/** How long room is kept beyond the time that victims get to end, and at most, in milliseconds. */
const slackMs = 5_000;
const maxHoldMs = 60_000;

/** The first of a class that found no room. */
export interface Blocked {
  head: TaskId;
  rank: number;
  priority: number;
  demand: Demand;
  siblings: ReadonlyMap<NodeId, number>;
}

export class Preemptor {
  readonly #records: RecordStore;
  readonly #view: ClusterView;
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #log: Log;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  /** Tries in a row that found nothing: each looks at other nodes, and at another task first. */
  #misses = 0;

  constructor(deps: {
    records: RecordStore;
    view: ClusterView;
    clock: Clock;
    /** Least time between two tries, in milliseconds. */
    everyMs: number;
    log: Log;
  }) {
    this.#records = deps.records;
    this.#view = deps.view;
    this.#clock = deps.clock;
    this.#everyMs = deps.everyMs;
    this.#log = deps.log;
  }

  /** Makes room for one of those that wait, if that is possible and allowed by now. */
  async step(blocked: readonly Blocked[]): Promise<void> {
    const now = this.#clock.nowMs();
    if (now - this.#triedAtMs < this.#everyMs) return;
    const served = new Set(this.#view.placer.nodes.map(({ heldFor }) => heldFor));
    const waiting = blocked
      .filter(({ head }) => !served.has(head))
      .toSorted((a, b) => b.priority - a.priority || a.rank - b.rank);
    const next = waiting[this.#misses % Math.max(1, waiting.length)];
    if (next === undefined) return;
    this.#triedAtMs = now;
    const nodes = await this.#look(next, Math.floor(this.#misses / waiting.length));
    const eviction = evictionFor(next.demand, next.priority, nodes);
    const made = eviction !== undefined && (await this.#make(next, eviction));
    this.#misses = made ? 0 : this.#misses + 1;
  }

  /** Nodes that would do if they were empty, the emptiest first, with what is on them. */
  async #look({ demand, priority, siblings }: Blocked, turn: number) {
    const fitting = this.#view.placer.nodes
      .filter(
        (node) =>
          suits(demand, node) &&
          fitsEmpty(demand, node) &&
          !(demand.alone && (siblings.get(node.id) ?? 0) > 0),
      )
      .toSorted((a, b) => fullnessWith(demand, a) - fullnessWith(demand, b));
    const turns = Math.max(1, Math.ceil(fitting.length / maxNodes));
    const from = (turn % turns) * maxNodes;
    const looked = await Promise.all(
      fitting.slice(from, from + maxNodes).map(async (node) => ({
        node,
        open: await this.#mayTake(node, priority),
        holders: await this.#holdersOf(node),
      })),
    );
    return looked.filter(({ open }) => open);
  }

  /** False if the node's room is kept for a task of no lower priority. */
  async #mayTake({ heldFor }: NodeView, priority: number): Promise<boolean> {
    if (heldFor === undefined) return true;
    const task = (await this.#records.get(heldFor))?.task;
    return task?.state !== "pending" || priorityOf(task.spec) < priority;
  }

  async #holdersOf({ id }: NodeView): Promise<Holder[]> {
    const records = await this.#records.getMany(await this.#records.heldBy(id));
    return records
      .filter(({ task }) => task.nodeId === id && isPlaced(task.state))
      .map(({ task, committing, evicting }) => ({
        id: task.id as TaskId,
        attempt: task.attempt,
        need: needOf(task.spec),
        priority: priorityOf(task.spec),
        assignedAtMs: task.assignedAtMs ?? 0,
        graceMs: task.state === "running" ? (task.spec.graceMs ?? specDefaults.graceMs) : 0,
        preemptible: task.spec.preemptible !== false && committing === undefined,
        leaving: evicting !== undefined || task.cancelRequested,
      }));
  }

  async #make({ head, priority }: Blocked, { nodeId, victims }: Eviction): Promise<boolean> {
    const now = this.#clock.nowMs();
    const graceMs = Math.max(0, ...victims.map((one) => one.graceMs));
    const keptMs = Math.min(maxHoldMs, slackMs + graceMs);
    const failure = {
      code: "preempted",
      message: `its room on node ${nodeId} went to task ${head} of priority ${priority}`,
    };
    const code = await this.#records.preempt(
      { nodeId, taskId: head, untilMs: now + keptMs, failure, victims },
      now,
    );
    this.#view.markDirty(nodeId);
    if (code !== "ok") return false;
    this.#log.info({ taskId: head, nodeId, victims: victims.map(({ id }) => id) }, "preempted");
    return true;
  }
}
