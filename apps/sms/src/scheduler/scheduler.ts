/**
 * Places what waits, lowest rank first. Tasks of equal need form a class, and a class
 * is left alone once its first task fits nowhere; a step looks at a bounded number of
 * classes. So a step costs what it places, however long the backlog is.
 *
 * Nobody starves: ranks never change, so whatever waits comes first in the end, and for
 * the first in line a node is kept free when it has waited for room long enough.
 */
import type { Clock } from "@spear/shared/clock.ts";
import type { JobId, NodeId, TaskId } from "@spear/shared/ids.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Event, TaskSpec } from "@spear/shared/task.ts";
import type { EventLog } from "../events/events.ts";
import { classOf, heedOf, priorityOf } from "../tasks/record.ts";
import type { RecordStore, Waiting } from "../tasks/store.ts";
import type { Dispatch } from "./dispatch.ts";
import {
  type Demand,
  demandOf,
  fitsEmpty,
  fullnessWith,
  inputsOf,
  type NodeView,
  suits,
} from "./place.ts";
import type { Preemptor } from "./preemptor.ts";
import type { ClusterView } from "./view.ts";

/** Classes that a step looks at from the front, and as many further back in turn. */
const window = 128;
/** Tasks of a round: few at first, twice as many after each round that placed all. */
const firstRound = 16;
const maxRound = 1_024;
/** Classes whose demand is remembered. */
const maxKnown = 4 * window;
const maxPromoted = 1_024;
/** A full look at all nodes at least this often, in milliseconds. */
const refreshAllMs = 5_000;
const periodMs = 1_000;
/** Room that is given back within this time after a step is filled by one step. */
const gapMs = 2;
/** How long a node is kept free by one renewal, in milliseconds. */
const holdMs = 10_000;

/** What is known of a class that waits. */
interface Known {
  demand: Demand;
  /** That of all its tasks. */
  priority: number;
  jobId: JobId;
}

/** A class in a round, with what has to be known to place its tasks. */
interface Open extends Waiting, Known {
  siblings: Map<NodeId, number>;
}

export class Scheduler implements AsyncDisposable {
  readonly #records: RecordStore;
  readonly #view: ClusterView;
  readonly #dispatcher: Dispatch;
  readonly #clock: Clock;
  readonly #reserveAfterMs: number;
  readonly #preemptor: Preemptor | undefined;
  readonly #loop: Loop;
  readonly #stopListening: () => void;
  readonly #known = new Map<string, Known>();
  /** Since when the first tasks of classes have found no room. */
  #blockedSince = new Map<TaskId, number>();
  /** How far behind the front the next look further back begins. */
  #behind = 0;
  #heldAtMs = 0;
  #refreshedAllMs = 0;
  #due = new AbortController();

  constructor(deps: {
    records: RecordStore;
    view: ClusterView;
    dispatcher: Dispatch;
    events: Pick<EventLog, "listen">;
    clock: Clock;
    reserveAfterMs: number;
    /** Takes room from others, where that is allowed. */
    preemptor?: Preemptor | undefined;
    log: Log;
  }) {
    this.#records = deps.records;
    this.#view = deps.view;
    this.#dispatcher = deps.dispatcher;
    this.#clock = deps.clock;
    this.#reserveAfterMs = deps.reserveAfterMs;
    this.#preemptor = deps.preemptor;
    this.#stopListening = deps.events.listen((event) => this.#onEvent(event));
    this.#loop = new Loop("scheduler", periodMs, deps.log, () => this.#step(), {
      clock: deps.clock,
      gapMs,
    });
  }

  /** The node that a new task should try first; undefined if it has to wait its turn. */
  propose(spec: TaskSpec): NodeId | undefined {
    // What heeds its job's others needs to know where they are.
    if (heedOf(spec) !== "") return undefined;
    const demand = demandOf(spec);
    const nodeId = this.#view.placer.choose(classOf(spec, undefined), demand, {
      taskId: undefined,
      siblings: new Map(),
      inputs: inputsOf(spec),
    });
    if (nodeId !== undefined) this.#view.placer.adjust(nodeId, demand, 1);
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
    if (event.kind === "node.state" || event.kind === "node.changed") {
      if (nodeId !== undefined) this.#view.markDirty(nodeId);
      this.wake();
    } else if (event.kind === "task.state" && nodeId !== undefined) {
      if (event.to !== "running") this.#view.markDirty(nodeId);
      if (event.from === "assigned" || event.from === "running") {
        if (event.to !== "running") this.wake();
      }
    }
    // The room there may be kept for somebody by now.
    if (event.kind === "task.evict_requested" && nodeId !== undefined) this.#view.markDirty(nodeId);
    if (event.kind === "task.state" && event.to === "pending") this.wake();
  }

  async #step(): Promise<void> {
    const now = this.#clock.nowMs();
    while ((await this.#records.promote(now, maxPromoted)) === maxPromoted);
    if (now - this.#refreshedAllMs > refreshAllMs) {
      await this.#view.refreshAll();
      this.#refreshedAllMs = now;
    }
    const { seen, blocked } = await this.#placeFrom(0);
    const all = [...blocked];
    if (seen === window) {
      const further = await this.#placeFrom(window + this.#behind);
      this.#behind = further.seen === window ? this.#behind + window : 0;
      all.push(...further.blocked);
    }
    await this.#preemptor?.step(all);
    await this.#keepRoom(blocked, now);
    await this.#scheduleNextDue();
  }

  /** Places what it can of a window of classes; answers with those that are left, by rank. */
  async #placeFrom(offset: number): Promise<{ seen: number; blocked: Open[] }> {
    for (let size = firstRound; ; size = Math.min(maxRound, size * 2)) {
      const classes = await this.#records.waitingClasses(offset, window);
      await this.#view.refresh();
      const all = await Promise.all(classes.map((waiting) => this.#openOf(waiting)));
      const known = all.filter((one) => one !== undefined);
      const open = known.filter((one) => this.#choose(one, one.head, []) !== undefined);
      if (open.length === 0 || (await this.#round(open, size)) === 0) {
        const blocked = known.filter((one) => !open.includes(one));
        return { seen: classes.length, blocked };
      }
    }
  }

  async #openOf(waiting: Waiting): Promise<Open | undefined> {
    let known = this.#known.get(waiting.class);
    if (known === undefined) {
      const task = (await this.#records.get(waiting.head))?.task;
      if (task === undefined) return undefined;
      known = {
        demand: demandOf(task.spec),
        priority: priorityOf(task.spec),
        jobId: task.jobId as JobId,
      };
      if (this.#known.size >= maxKnown) this.#known.clear();
      this.#known.set(waiting.class, known);
    }
    const { alone, spreadLabel } = known.demand;
    const siblings =
      alone || spreadLabel !== undefined
        ? await this.#records.siblings(known.jobId)
        : new Map<NodeId, number>();
    return { ...waiting, ...known, siblings };
  }

  #choose(open: Open, taskId: TaskId, inputs: readonly string[]): NodeId | undefined {
    const { demand, siblings } = open;
    return this.#view.placer.choose(open.class, demand, { taskId, siblings, inputs });
  }

  /** Places up to about `size` tasks of the classes, by their rank; the number placed. */
  async #round(open: readonly Open[], size: number): Promise<number> {
    // No more are looked at than there are free slots: most of a backlog has to wait anyway.
    const most = Math.min(size, this.#view.placer.freeSlots());
    const each = Math.max(1, Math.floor(most / open.length));
    const lists = await Promise.all(open.map((one) => this.#records.waiting(one.class, each)));
    // Behind the end of a list that was cut short there may be one of a lower rank.
    const ends = lists.map((list) => (list.length < each ? Infinity : (list.at(-1)?.rank ?? 0)));
    const end = Math.min(...ends);
    const tasks = open
      .flatMap((one, index) => (lists[index] ?? []).map((task) => ({ ...task, open: one })))
      .filter(({ rank }) => rank <= end)
      .toSorted((a, b) => a.rank - b.rank || (a.id < b.id ? -1 : 1));
    const roomy = this.#roomFor(tasks);
    const specs = await Promise.all(roomy.map(({ id }) => this.#records.spec(id)));
    const blocked = new Set<Open>();
    const placing: Promise<boolean>[] = [];
    for (const [index, { id, open: one }] of roomy.entries()) {
      const spec = specs[index];
      if (spec === undefined || blocked.has(one)) continue;
      const nodeId = this.#choose(one, id, inputsOf(spec));
      if (nodeId === undefined) {
        blocked.add(one);
        continue;
      }
      this.#view.placer.adjust(nodeId, one.demand, 1);
      one.siblings.set(nodeId, (one.siblings.get(nodeId) ?? 0) + 1);
      placing.push(this.#assign(id, nodeId, spec));
    }
    return (await Promise.all(placing)).filter((placed) => placed).length;
  }

  /** Those that some node has room for, whatever their inputs: only their specs are worth reading. */
  #roomFor<T extends { id: TaskId; open: Open }>(tasks: readonly T[]): T[] {
    const full = new Set<Open>();
    const taken: [NodeId, Demand][] = [];
    const roomy = tasks.filter(({ id, open }) => {
      const nodeId = full.has(open) ? undefined : this.#choose(open, id, []);
      if (nodeId === undefined) {
        full.add(open);
        return false;
      }
      this.#view.placer.adjust(nodeId, open.demand, 1);
      taken.push([nodeId, open.demand]);
      return true;
    });
    for (const [nodeId, demand] of taken) this.#view.placer.adjust(nodeId, demand, -1);
    return roomy;
  }

  async #assign(id: TaskId, nodeId: NodeId, spec: TaskSpec): Promise<boolean> {
    const outcome = await this.#records.transition(
      { id, to: "assigned", nodeId, reason: "placed" },
      this.#clock.nowMs(),
    );
    if (outcome.code !== "ok") {
      // Another replica was first, or the view was behind: look again.
      this.#view.markDirty(nodeId);
      return false;
    }
    this.#dispatcher.send(nodeId, { taskId: id, attempt: outcome.attempt, spec });
    return true;
  }

  /** Keeps a node free for the first that has waited long enough for room and could have it. */
  async #keepRoom(blocked: readonly Open[], now: number): Promise<void> {
    this.#blockedSince = new Map(
      blocked.map(({ head }) => [head, this.#blockedSince.get(head) ?? now]),
    );
    if (now - this.#heldAtMs < holdMs / 4) return;
    for (const open of blocked) {
      if (now - (this.#blockedSince.get(open.head) ?? now) < this.#reserveAfterMs) continue;
      const node = this.#soonestFree(open);
      if (node === undefined) continue;
      this.#heldAtMs = now;
      await this.#view.hold(node.id, open.head, now + holdMs);
      return;
    }
  }

  /** The node that has to give back the least before the class's first task fits. */
  #soonestFree({ demand, head, siblings }: Open): NodeView | undefined {
    let best: NodeView | undefined;
    for (const node of this.#view.placer.nodes) {
      if (node.heldFor === head) return node;
      if (node.heldFor !== undefined || !suits(demand, node) || !fitsEmpty(demand, node)) continue;
      if (demand.alone && (siblings.get(node.id) ?? 0) > 0) continue;
      if (best === undefined || fullnessWith(demand, node) < fullnessWith(demand, best))
        best = node;
    }
    return best;
  }

  /** Wakes when the next delayed task is due, not a period later. */
  async #scheduleNextDue(): Promise<void> {
    this.#due.abort();
    const due = await this.#records.nextDueMs();
    if (due === undefined) return;
    const inMs = due - this.#clock.nowMs();
    if (inMs >= periodMs) return;
    this.#due = new AbortController();
    this.#clock.wait(Math.max(0, inMs), this.#due.signal).then(
      () => this.wake(),
      () => undefined,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopListening();
    this.#due.abort();
    await this.#loop[Symbol.asyncDispose]();
    this.#due.abort();
  }
}
