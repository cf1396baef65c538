/**
 * Nodes as the cluster sees them: who is a member, whose lease is alive, and what
 * happens to the tasks of one that is lost. A broken session is a suspicion and
 * leads to a probe; an expired lease, or a dead port, is the verdict.
 */
import { ChannelCredentials } from "@grpc/grpc-js";
import { HealthServiceClient } from "@spear/proto/gen/spear/spearlet/v1/spearlet.ts";
import type { HeldAttempt } from "@spear/proto/gen/spear/sms/v1/node.ts";
import { check } from "@spear/shared/check.ts";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { unary } from "@spear/shared/grpc/client.ts";
import type { IdSource, NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Node, NodeUsage, UsageSample } from "@spear/shared/node.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import { isPlaced } from "@spear/shared/state.ts";
import { labelMap } from "@spear/shared/task.ts";
import type { Dispatch } from "../scheduler/dispatch.ts";
import type { TaskRecord } from "../tasks/record.ts";
import type { RecordStore } from "../tasks/store.ts";
import type { Reports } from "../tasks/reports.ts";
import {
  type LabelChange,
  maxLabels,
  type NodeStore,
  type OnlyIf,
  type Registration,
} from "./store.ts";

const probeMs = 400;
const maxDrainMs = 30 * 86_400_000;
const labels = labelMap("Labels of a node.");

export interface Lease {
  leaseMs: number;
  heartbeatMs: number;
}

export class Nodes {
  readonly #records: NodeStore;
  readonly #tasks: RecordStore;
  readonly #reports: Reports;
  readonly #dispatcher: Dispatch;
  readonly #clock: Clock;
  readonly #ids: IdSource;
  readonly #log: Log;
  readonly #refuses: (address: string) => Promise<boolean>;
  readonly lease: Lease;

  constructor(deps: {
    records: NodeStore;
    tasks: RecordStore;
    reports: Reports;
    dispatcher: Dispatch;
    clock: Clock;
    ids: IdSource;
    log: Log;
    lease: Lease;
    /** True if nobody listens at the address; a simulation has its own network. */
    refuses?: (address: string) => Promise<boolean>;
  }) {
    this.#records = deps.records;
    this.#tasks = deps.tasks;
    this.#reports = deps.reports;
    this.#dispatcher = deps.dispatcher;
    this.#clock = deps.clock;
    this.#ids = deps.ids;
    this.#log = deps.log;
    this.lease = deps.lease;
    this.#refuses = deps.refuses ?? refusesConnections;
  }

  /** Makes a node known; a new one gets its id here. */
  async register(node: Omit<Registration, "id"> & { id: NodeId | undefined }): Promise<NodeId> {
    const id = node.id ?? this.#ids.next("node");
    const code = await this.#records.register(
      { ...node, id },
      this.#clock.nowMs(),
      this.lease.leaseMs,
    );
    this.#log.info({ nodeId: id, name: node.name, code }, "node registered");
    return id;
  }

  /**
   * A session begins: settles what the node holds against what the records say.
   * What an earlier run held and this one does not goes back to pending; what the
   * node holds and the records gave to others is answered as disowned. `session` counts
   * the sessions of this run: a hello that comes late must not judge what was claimed since.
   * With `dataLost` what has no record is not disowned but unknown, to be adopted.
   */
  async hello(
    id: NodeId,
    incarnation: string,
    held: readonly HeldAttempt[],
    session: number,
    dataLost = false,
  ): Promise<{ disowned: HeldAttempt[]; unknown: HeldAttempt[] }> {
    const code = await this.#records.heartbeat(
      id, incarnation, undefined, this.#clock.nowMs(), this.lease.leaseMs, true,
    ); // prettier-ignore
    if (code === "missing") throw nodeNotFound(id);
    if (code === "stale") throw staleIncarnation(id);
    const holds = new Map(held.map((one) => [one.taskId, one.attempt]));
    for (const record of await this.#tasks.getMany(await this.#tasks.heldBy(id))) {
      const { task } = record;
      if (task.nodeId !== id || !isPlaced(task.state)) continue;
      if (holds.get(task.id) === task.attempt || record.committing !== undefined) continue;
      // Assigned ones may still be in its queue; running ones are lost.
      if (task.state === "assigned" || claimedSince(record, incarnation, session)) continue;
      await this.#reports.requeue(task.id as TaskId, task.attempt, id, "node_restarted");
    }
    const disowned: HeldAttempt[] = [];
    const unknown: HeldAttempt[] = [];
    for (const one of held) {
      const record = await this.#tasks.get(one.taskId as TaskId);
      const task = record?.task;
      const owns = task?.nodeId === id && task.attempt === one.attempt && isPlaced(task.state);
      // What the node accepted by itself is to be adopted yet.
      const awaits = task === undefined || (task.state === "pending" && task.attempt < one.attempt);
      if (owns || (one.local === true && awaits)) continue;
      if (dataLost && task === undefined) unknown.push(one);
      else disowned.push(one);
    }
    return { disowned, unknown };
  }

  /** Attempts that the node is to stop: what it was told before may not have come. */
  async stopWishes(id: NodeId): Promise<HeldAttempt[]> {
    const records = await this.#tasks.getMany(await this.#tasks.heldBy(id));
    return records
      .filter(({ task, evicting }) => (task.cancelRequested || evicting) && task.nodeId === id)
      .map(({ task }) => ({ taskId: task.id, attempt: task.attempt }));
  }

  /** Renews a lease. Throws `node_not_found`, `stale_incarnation`, or `conflict` if it was given up. */
  async heartbeat(id: NodeId, incarnation: string, usage: NodeUsage | undefined): Promise<void> {
    const code = await this.#records.heartbeat(
      id,
      incarnation,
      usage,
      this.#clock.nowMs(),
      this.lease.leaseMs,
    );
    if (code === "missing") throw nodeNotFound(id);
    if (code === "stale") throw staleIncarnation(id);
    if (code === "down") {
      throw new Fault("conflict", `node ${id} was given up; it must open a new session`, {
        help: "register again and say hello",
      });
    }
  }

  /** Takes a node out; its tasks go elsewhere. Throws `node_not_found`. */
  async deregister(id: NodeId): Promise<void> {
    const code = await this.#records.setState(id, "left", "deregistered", this.#clock.nowMs());
    if (code === "missing") throw nodeNotFound(id);
    await this.#moveTasks(id, "node_left");
    await this.#dispatcher.forget(id);
  }

  /**
   * Gives a node no new tasks; what is left after `deadlineMs` moves (0: never). The wish
   * outlives restarts of the node and of SMS. Throws `node_not_found`, `conflict`.
   */
  async drain(id: NodeId, deadlineMs: number): Promise<Node> {
    if (deadlineMs < 0 || deadlineMs > maxDrainMs) {
      throw new Fault("invalid_argument", `deadlineMs: must be 0 to ${maxDrainMs}`, {
        field: "deadlineMs",
      });
    }
    const now = this.#clock.nowMs();
    const untilMs = deadlineMs === 0 ? 0 : now + deadlineMs;
    const code = await this.#change(() => this.#records.drain(id, untilMs, now));
    if (code === "missing") throw nodeNotFound(id);
    const node = await this.get(id);
    if (code === "ok") return node;
    throw new Fault("conflict", `node ${id} is ${node.state}`, { field: "nodeId" });
  }

  /** Takes a drain back. Throws `node_not_found`. */
  async undrain(id: NodeId): Promise<Node> {
    const now = this.#clock.nowMs();
    const code = await this.#change(() => this.#records.drain(id, undefined, now));
    if (code === "missing") throw nodeNotFound(id);
    return this.get(id);
  }

  /** Lets nothing new onto a node, or takes that back; what it has goes on. Throws `node_not_found`. */
  async cordon(id: NodeId, on: boolean): Promise<Node> {
    const code = await this.#change(() => this.#records.cordon(id, on, this.#clock.nowMs()));
    if (code === "missing") throw nodeNotFound(id);
    return this.get(id);
  }

  /** Changes labels over the node's own. Throws `node_not_found`, `invalid_argument`. */
  async label(id: NodeId, { set, remove }: LabelChange): Promise<Node> {
    check(labels, set, "set");
    for (const name of remove) {
      if (Object.hasOwn(set, name))
        throw new Fault("invalid_argument", `remove: "${name}" is set too`, { field: "remove" });
    }
    const change = { set, remove };
    const code = await this.#change(() => this.#records.label(id, change, this.#clock.nowMs()));
    if (code === "missing") throw nodeNotFound(id);
    if (code === "too_many") {
      throw new Fault("invalid_argument", `set: a node may have ${maxLabels} labels set over it`, {
        field: "set",
      });
    }
    return this.get(id);
  }

  /** What a node used in the last hour, oldest first. Throws `node_not_found`. */
  async usage(id: NodeId): Promise<UsageSample[]> {
    await this.get(id);
    return this.#change(() => this.#records.usage(id));
  }

  async #change<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw redisFault(error);
    }
  }

  list(): Promise<Node[]> {
    return this.#change(() => this.#records.list());
  }

  /** Throws `node_not_found`. */
  async get(id: NodeId): Promise<Node> {
    const node = await this.#change(() => this.#records.get(id));
    if (node === undefined) throw nodeNotFound(id);
    return node;
  }

  /** A session broke without a goodbye: if nobody listens any more, the node is gone. */
  async suspect(id: NodeId, incarnation: string): Promise<void> {
    const node = await this.#records.get(id);
    if (node === undefined || node.incarnation !== incarnation) return;
    if (node.state !== "ready" && node.state !== "draining") return;
    if (await this.#refuses(node.grpcAddress)) {
      this.#log.warn({ nodeId: id }, "session broke and nobody listens: node is down");
      await this.giveUp(id, { incarnation }, "session_broken");
    }
  }

  /** Gives up nodes whose lease ran out, while `epoch` is the leader's. Idempotent. */
  async giveUpExpired(epoch?: number): Promise<void> {
    for (const id of await this.#records.expired(this.#clock.nowMs())) {
      await this.giveUp(
        id,
        { ifExpired: true, ...(epoch === undefined ? {} : { epoch }) },
        "lease_expired",
      );
    }
  }

  /** The verdict: the node is down and its tasks go to others. */
  async giveUp(id: NodeId, only: OnlyIf, reason: string): Promise<void> {
    const code = await this.#records.setState(id, "down", reason, this.#clock.nowMs(), only);
    if (code === "ok") this.#log.warn({ nodeId: id, reason }, "node is down");
    if (code === "ok" || code === "again") await this.#moveTasks(id, "node_lost");
  }

  /** Moves whatever a node that is down or gone still holds; repeats do no harm. */
  async #moveTasks(id: NodeId, reason: string): Promise<void> {
    for (const record of await this.#tasks.getMany(await this.#tasks.heldBy(id))) {
      const { task } = record;
      if (record.committing !== undefined || task.nodeId !== id) continue;
      await this.#reports.requeue(task.id as TaskId, task.attempt, id, reason, {
        code: reason,
        message: `node ${id} was lost while it had the task`,
      });
    }
  }

  /**
   * Moves what should be elsewhere: tasks of nodes that are no longer there, as a crash of
   * SMS may leave them, and what is left on nodes whose drain is over.
   */
  async moveLeftBehind(): Promise<void> {
    const now = this.#clock.nowMs();
    for (const { id, state, drainUntilMs } of await this.#records.list()) {
      if (state === "down" || state === "left") await this.#moveTasks(id as NodeId, "node_lost");
      else if (drainUntilMs !== undefined && drainUntilMs <= now)
        await this.#evictAll(id as NodeId);
    }
  }

  /** Asks for all room on a draining node back: its tasks go elsewhere at no cost for them. */
  async #evictAll(id: NodeId): Promise<void> {
    const failure = { code: "drained", message: `node ${id} was drained and its deadline passed` };
    for (const { task, evicting } of await this.#tasks.getMany(await this.#tasks.heldBy(id))) {
      if (evicting !== undefined || task.nodeId !== id) continue;
      const now = this.#clock.nowMs();
      await this.#tasks.evict(task.id as TaskId, task.attempt, failure, now);
    }
  }
}

/** True if the attempt was claimed during or after that session of the node's run. */
function claimedSince({ claimedIn }: TaskRecord, incarnation: string, session: number): boolean {
  const [run, number] = claimedIn?.split(" ") ?? [];
  return run === incarnation && Number(number) >= session;
}

/** True if the address actively refuses: nobody listens there. Silence is not refusal. */
async function refusesConnections(address: string): Promise<boolean> {
  const client = new HealthServiceClient(address, ChannelCredentials.createInsecure());
  try {
    await unary(client, client.getHealth, {}, { timeoutMs: probeMs });
    return false;
  } catch (error) {
    return error instanceof Fault && /ECONNREFUSED|ENOENT/.test(error.message);
  } finally {
    client.close();
  }
}

function nodeNotFound(id: NodeId): Fault {
  return new Fault("node_not_found", `there is no node ${id}`, {
    field: "nodeId",
    help: "list nodes with: spear node ls",
  });
}

function staleIncarnation(id: NodeId): Fault {
  return new Fault("stale_incarnation", `a newer run of node ${id} has registered`, {
    help: "two SPEARlets must not share a data directory",
  });
}
