/** An SMS in the simulation: the real services over the simulated Redis, clock and network. */
import type { AttemptReport } from "@spear/proto/gen/spear/sms/v1/node.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { IdSource, NodeId } from "@spear/shared/ids.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import { silentLog } from "@spear/shared/log.ts";
import { Nodes } from "../../apps/sms/src/nodes/nodes.ts";
import type { Policy } from "../../apps/sms/src/scheduler/place.ts";
import { Preemptor } from "../../apps/sms/src/scheduler/preemptor.ts";
import { Reconciler } from "../../apps/sms/src/scheduler/reconcile.ts";
import { Scheduler } from "../../apps/sms/src/scheduler/scheduler.ts";
import { ClusterView } from "../../apps/sms/src/scheduler/view.ts";
import { Reports } from "../../apps/sms/src/tasks/reports.ts";
import { Tasks } from "../../apps/sms/src/tasks/tasks.ts";
import type { Network } from "./network.ts";
import type { SimNode } from "./node.ts";
import type { SimQueues } from "./queues.ts";
import type { SimRedis } from "./redis.ts";
import { Process, type World } from "./world.ts";

export const leaseMs = 4_000;
export const heartbeatMs = 1_000;
const reconcileMs = 2_000;
const preemptEveryMs = 250;
const rebootMs = 500;
const retryMs = 250;
const resendMs = 400;

export interface Cluster {
  world: World;
  redis: SimRedis;
  queues: SimQueues;
  network: Network;
  ids: IdSource;
  policy: Policy;
  reserveAfterMs: number;
  preemption: boolean;
  storeAway: number;
  nodes: SimNode[];
  replicas: SimSms[];
}

/** What the parts of one life of an SMS are. */
interface Services {
  tasks: Tasks;
  nodes: Nodes;
  reports: Reports;
}

export class SimSms {
  readonly process: Process;
  readonly #cluster: Cluster;
  /** Who has the newest session of a node, by the node's number of connections. */
  readonly #sessions = new Map<SimNode, number>();
  #stopReading: () => void = () => undefined;
  #services: Services | undefined;
  /** What runs by itself; it ends with the process's life. */
  #loops: Loop[] = [];

  constructor(cluster: Cluster, number: number) {
    this.process = new Process(cluster.world, `sms${number}`);
    this.#cluster = cluster;
  }

  /** Undefined while it is down or starting. */
  get services(): Services | undefined {
    return this.#services;
  }

  start(): void {
    this.process.begin();
    void this.#boot();
  }

  async #boot(): Promise<void> {
    const { process } = this;
    const { redis, queues, ids, policy, reserveAfterMs, preemption } = this.#cluster;
    const records = redis.remote(process, redis.tasks);
    const nodeRecords = redis.remote(process, redis.nodes);
    const view = new ClusterView(nodeRecords, process, policy);
    try {
      await view.refreshAll();
    } catch {
      // It exits, and whoever watches over it starts it again.
      process.after(rebootMs, () => void this.#boot());
      return;
    }
    const log = silentLog;
    const dispatcher = queues.dispatcher(process);
    const listeners = new Set<Parameters<typeof redis.follow>[1]>();
    this.#stopReading = redis.follow(process, (event) => {
      for (const listener of listeners) listener(event);
      if (event.kind === "task.cancel_requested" || event.kind === "task.evict_requested")
        this.#tellOfCancel(event.nodeId, event);
    });
    const events = {
      listen: (listener: Parameters<typeof redis.follow>[1]) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    };
    const preemptor = new Preemptor({
      records, view, clock: process, everyMs: preemptEveryMs, log,
    }); // prettier-ignore
    const scheduler = new Scheduler({
      records, view, dispatcher, events, clock: process, reserveAfterMs, log,
      preemptor: preemption ? preemptor : undefined,
    }); // prettier-ignore
    const outputs = { publish: (all: Parameters<typeof this.publish>[0]) => this.publish(all) };
    const reports = new Reports({ records, outputs, clock: process, log, nodeFaultLimit: 8 });
    const nodes = new Nodes({
      records: nodeRecords, tasks: records, reports, dispatcher, clock: process, ids, log,
      lease: { leaseMs, heartbeatMs },
      refuses: (address) => this.#refuses(address),
    }); // prettier-ignore
    const reconciler = new Reconciler({
      tasks: records,
      nodes,
      reports,
      dispatcher,
      clock: process,
    });
    this.#loops.push(
      new Loop("reconciler", reconcileMs, log, (signal) => reconciler.step(signal), {
        clock: process,
      }),
    );
    const tasks = new Tasks({ records, scheduler, dispatcher, clock: process, ids });
    this.#services = { tasks, nodes, reports };
  }

  crash(): void {
    this.#stopReading();
    this.process.end();
    this.#services = undefined;
    this.#loops = [];
    const sessions = [...this.#sessions];
    this.#sessions.clear();
    for (const [node, connection] of sessions) node.hangUp(this, connection);
  }

  /** Somebody calls; the answer, or what went wrong, reaches them over the network. */
  call(
    caller: Process,
    work: (services: Services) => Promise<(() => void) | undefined>,
    failed: (fault: Fault) => void,
  ): void {
    const { network } = this.#cluster;
    network.send(caller, this.process, () => {
      const services = this.#services;
      if (services === undefined) return;
      work(services).then(
        (answer) => answer !== undefined && network.send(this.process, caller, answer),
        (error: unknown) => network.send(this.process, caller, () => failed(Fault.from(error))),
      );
    });
  }

  /** The node's hello was accepted. */
  openSession(node: SimNode, connection: number, id: NodeId): void {
    if ((this.#sessions.get(node) ?? 0) < connection) this.#sessions.set(node, connection);
    const wishes = this.#services?.nodes.stopWishes(id) ?? Promise.resolve([]);
    wishes.then(
      (all) => {
        for (const { taskId, attempt } of all) this.#tell(node, connection, taskId, attempt);
      },
      () => node.hangUp(this, connection),
    );
  }

  /** The connection broke without a goodbye. */
  sessionBroke(node: SimNode, connection: number, id: NodeId, incarnation: string): void {
    if (this.#sessions.get(node) !== connection) return;
    this.#sessions.delete(node);
    void this.#services?.nodes.suspect(id, incarnation).catch(() => undefined);
  }

  hasSession(node: SimNode, connection: number): boolean {
    return this.process.alive && this.#sessions.get(node) === connection;
  }

  /** Applies a report until it is in the record; `done` gets the answer. */
  async takeReport(
    node: SimNode,
    connection: number,
    id: NodeId,
    report: AttemptReport,
    done: (stale: boolean, later?: boolean) => void,
  ): Promise<void> {
    while (this.hasSession(node, connection)) {
      try {
        const answer = await this.#services?.reports.take(id, report);
        done(answer?.stale === true, answer?.later);
        return;
      } catch (error) {
        if (Fault.from(error).code === "invalid_argument") return done(true);
        await this.process.wait(retryMs);
      }
    }
  }

  #tellOfCancel(nodeId: string | undefined, event: { taskId?: string; attempt: number }): void {
    const node = this.#cluster.nodes.find(({ id }) => id === nodeId);
    if (node === undefined || !this.#sessions.has(node) || event.taskId === undefined) return;
    this.#tell(node, this.#sessions.get(node) as number, event.taskId, event.attempt);
  }

  /** Over a connection a message is sent again until it arrives or the connection breaks. */
  #tell(node: SimNode, connection: number, taskId: string, attempt: number): void {
    if (!this.hasSession(node, connection)) return;
    let arrived = false;
    this.#cluster.network.send(this.process, node.process, () => {
      arrived = true;
      node.cancel(taskId, attempt);
    });
    this.process.after(resendMs, () => {
      if (!arrived) this.#tell(node, connection, taskId, attempt);
    });
  }

  async #refuses(address: string): Promise<boolean> {
    await this.process.wait(1);
    const node = this.#cluster.nodes.find(({ process }) => process.name === address);
    if (node === undefined || !this.#cluster.network.reaches(this.process, node.process))
      return false;
    return !node.process.alive;
  }

  /** Names outputs in the store, which may be away. */
  async publish(outputs: readonly { objectId: string }[]): Promise<void> {
    const { world, redis, storeAway, network } = this.#cluster;
    for (const { objectId } of outputs) {
      await this.process.wait(world.random.between(1, 20));
      if (!network.calm && world.random.chance(storeAway))
        throw new Fault("unavailable", "the Object Store does not answer");
      const [taskId, attempt] = objectId.split(" ");
      redis.checker.published(taskId as string, Number(attempt));
    }
  }
}
