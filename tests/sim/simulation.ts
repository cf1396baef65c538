/** A run from its plan, and the shortest plan that still fails. */
import type { IdKind, IdSource, NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Bug } from "./memory.ts";
import { Network } from "./network.ts";
import { SimNode } from "./node.ts";
import type { Action, Plan } from "./plan.ts";
import { SimQueues } from "./queues.ts";
import { SimRedis } from "./redis.ts";
import { type Cluster, SimSms } from "./sms.ts";
import { Process, startMs, World } from "./world.ts";

/** How long the cluster may take to end everything once nothing goes wrong any more. */
const calmMs = 180_000;
const clientRetryMs = 700;
/** After this no drain is on its way any more: longer than anything stands still. */

export interface Result {
  /** The first invariant that was broken, by name. */
  violation: string | undefined;
  steps: number;
  /** Simulated time, in milliseconds. */
  simulatedMs: number;
  acknowledged: number;
  /** How often each reason for a change came up. */
  reasons: ReadonlyMap<string, number>;
  /** What happened last before the end. */
  lines: readonly string[];
}

/** Ids in the order in which they are made. */
function idsOf(): IdSource {
  let last = 0;
  const next = (kind: IdKind) => `${kind}_${String(++last).padStart(26, "0")}`;
  return { next: next as IdSource["next"] };
}

class Run {
  readonly #plan: Plan;
  readonly #world: World;
  readonly #redis: SimRedis;
  readonly #cluster: Cluster;
  readonly #client: Process;
  readonly #acknowledged = new Set<TaskId>();
  readonly #byKey = new Map<string, TaskId>();
  /** Acknowledged tasks that never end by themselves. */
  readonly #hanging = new Set<TaskId>();
  /** Submits that were neither acknowledged nor given up. */
  #open = 0;

  constructor(plan: Plan, bug: Bug | undefined) {
    this.#plan = plan;
    this.#world = new World(plan.seed);
    this.#redis = new SimRedis(this.#world, bug);
    this.#cluster = {
      world: this.#world,
      redis: this.#redis,
      queues: new SimQueues(this.#redis),
      network: new Network(this.#world, plan),
      ids: idsOf(),
      policy: plan.policy,
      reserveAfterMs: plan.reserveAfterMs,
      preemption: plan.preemption,
      storeAway: plan.storeAway,
      nodes: [],
      replicas: [],
    };
    const { size, nodeFault } = plan;
    for (let number = 0; number < size.replicas; number++)
      this.#cluster.replicas.push(new SimSms(this.#cluster, number));
    for (let number = 0; number < size.nodes; number++)
      this.#cluster.nodes.push(new SimNode(this.#cluster, number, nodeFault));
    this.#client = new Process(this.#world, "client");
  }

  run(): Result {
    const { nodes, replicas, network } = this.#cluster;
    const { actions, size } = this.#plan;
    this.#client.begin();
    for (const sms of replicas) sms.start();
    for (const node of nodes) node.start();
    for (const action of actions)
      this.#world.after(action.atMs + 1_000, undefined, () => this.#act(action));
    const broken = () => this.#redis.checker.violation !== undefined;
    this.#world.runUntil(startMs + 1_000 + size.troubleMs, broken);
    network.calm = true;
    this.#world.note("everything that went wrong ends");
    const ended = () =>
      this.#open === 0 &&
      nodes.every(({ unknown }) => unknown.length === 0) &&
      this.#redis.state.tasksIn.pending.size +
        this.#redis.state.tasksIn.assigned.size +
        this.#redis.state.tasksIn.running.size ===
        0;
    // Cancellations are asked for as long after a submit as things go wrong.
    this.#world.runUntil(this.#world.nowMs + size.troubleMs + calmMs, () => broken() || ended());
    if (!broken()) this.#redis.checker.final(this.#acknowledged);
    return {
      violation: this.#redis.checker.violation,
      steps: this.#world.steps,
      simulatedMs: this.#world.nowMs - startMs,
      acknowledged: this.#acknowledged.size,
      reasons: this.#redis.checker.reasons,
      lines: this.#world.lines,
    };
  }

  #act(action: Action): void {
    const { nodes, replicas, network } = this.#cluster;
    const { which } = action;
    const node = nodes[which % nodes.length] as SimNode;
    const sms = replicas[which % replicas.length] as SimSms;
    const until = (forMs: number) => this.#world.nowMs + forMs;
    if (action.kind !== "submit" && action.kind !== "submit_local") {
      const who = action.kind.includes("node") ? node.process.name : sms.process.name;
      this.#world.note(`${action.kind} ${who} ${"forMs" in action ? `${action.forMs} ms` : ""}`);
    }
    switch (action.kind) {
      case "submit":
        this.#open++;
        this.#submit(action, which);
        break;
      case "submit_local": {
        const id = this.#cluster.ids.next("task");
        if (node.accept(id, action.spec)) this.#acknowledged.add(id);
        break;
      }
      case "cancel": {
        const all = [...this.#acknowledged];
        const id = all[which % Math.max(1, all.length)];
        if (id !== undefined)
          sms.call(
            this.#client,
            async ({ tasks }) => void (await tasks.cancel(id)),
            () => undefined,
          );
        break;
      }
      case "crash_sms":
        this.#crashSms(sms, action.forMs);
        break;
      case "crash_sms_at_loss":
        this.#redis.onLoss = () =>
          this.#world.after(action.afterMs, undefined, () => this.#crashSms(sms, action.forMs));
        break;
      case "crash_node":
      case "replace_node":
        if (!node.process.alive) break;
        node.crash();
        if (action.kind === "replace_node") {
          for (const id of node.unknown) this.#acknowledged.delete(id);
          // What is bound to a node that never comes back is for its owner to give up.
          for (const id of node.accepted) this.#cancelLater(id);
          node.loseDisk();
        }
        this.#world.after(action.forMs, undefined, () => node.start());
        break;
      case "pause_sms":
        sms.process.pausedUntilMs = until(action.forMs);
        break;
      case "pause_node":
        node.process.pausedUntilMs = until(action.forMs);
        break;
      case "cut_node":
        for (const replica of replicas)
          network.cut(node.process, replica.process, until(action.forMs));
        break;
      case "cut_link":
        network.cut(node.process, sms.process, until(action.forMs));
        break;
      case "drain_node":
        this.#drain(node, sms, action);
        break;
      case "redis_away":
        this.#redis.awayUntilMs = until(action.forMs);
        break;
      case "lossy":
        this.#redis.lossy = 0.2;
        this.#world.after(action.forMs, undefined, () => {
          this.#redis.lossy = 0;
        });
        break;
      case "jump_clock":
        (which % 2 === 0 ? sms : node).process.skewMs += action.byMs;
        break;
    }
  }

  #crashSms(sms: SimSms, forMs: number): void {
    if (!sms.process.alive) return;
    sms.crash();
    this.#world.after(forMs, undefined, () => sms.start());
  }

  /** Drains a node for a while, perhaps with a deadline before that is over. */
  #drain({ id }: SimNode, sms: SimSms, { which, forMs }: { which: number; forMs: number }): void {
    if (id === undefined) return;
    const deadlineMs = which % 2 === 0 ? 0 : forMs >> 1;
    let over = false;
    sms.call(
      this.#client,
      // A message that comes late must not drain it for good.
      async ({ nodes }) => void (over || (await nodes.drain(id, deadlineMs))),
      () => undefined,
    );
    this.#world.after(forMs, undefined, () => {
      over = true;
      this.#undrain(id);
    });
  }

  /** A drain must be taken back for good, so it is asked for until it was answered. */
  #undrain(id: NodeId): void {
    let answered = false;
    this.#world.random.pick(this.#cluster.replicas).call(
      this.#client,
      async ({ nodes }) => {
        await nodes.undrain(id);
        return () => {
          answered = true;
        };
      },
      () => undefined,
    );
    this.#client.after(clientRetryMs * 3, () => {
      if (!answered) this.#undrain(id);
    });
  }

  /** Submits until it is acknowledged; without a key only once. */
  #submit(action: Action & { kind: "submit" }, which: number): void {
    const { replicas } = this.#cluster;
    const { spec, key } = action;
    const sms = replicas[which % replicas.length] as SimSms;
    let settled = false;
    const settle = () => {
      if (settled) return false;
      settled = true;
      return true;
    };
    const retry = () => {
      if (!settle()) return;
      if (key === undefined) this.#open--;
      else this.#submit(action, which + 1);
    };
    this.#client.after(clientRetryMs + 1_500, retry);
    sms.call(
      this.#client,
      async ({ tasks }) => {
        const { id } = await tasks.submit(spec, key);
        return () => {
          if (settle()) this.#open--;
          this.#acknowledge(id as TaskId, key);
          if (spec.mock?.hang === true) this.#cancelLater(id as TaskId);
        };
      },
      () => this.#client.after(clientRetryMs, retry),
    );
  }

  /** Asks for the end of a task that hangs, once, at some time, until that was answered. */
  #cancelLater(id: TaskId): void {
    if (this.#hanging.has(id)) return;
    this.#hanging.add(id);
    const ask = () => {
      const sms = this.#world.random.pick(this.#cluster.replicas);
      let answered = false;
      sms.call(
        this.#client,
        async ({ tasks }) => {
          await tasks.cancel(id);
          return () => {
            answered = true;
          };
        },
        () => undefined,
      );
      this.#client.after(clientRetryMs * 3, () => {
        if (!answered) ask();
      });
    };
    this.#client.after(this.#world.random.between(0, this.#plan.size.troubleMs), ask);
  }

  #acknowledge(id: TaskId, key: string | undefined): void {
    this.#acknowledged.add(id);
    if (key === undefined) return;
    const known = this.#byKey.get(key) ?? id;
    this.#byKey.set(key, known);
    if (known !== id)
      this.#redis.checker.broken([`T1: ${key} was answered with ${known} and with ${id}`]);
  }
}

/** Runs a plan to its end, or to the first broken invariant. */
export function simulate(plan: Plan, bug?: Bug): Result {
  return new Run(plan, bug).run();
}

/** The plan with as little in it as still fails; tries at most `tries` runs. */
export function shrink(plan: Plan, bug?: Bug, tries = 200): { plan: Plan; result: Result } {
  let best = plan;
  let result = simulate(plan, bug);
  let left = tries;
  const attempt = (actions: Action[]): boolean => {
    if (left-- <= 0 || actions.length === best.actions.length) return false;
    const smaller = { ...plan, actions };
    const outcome = simulate(smaller, bug);
    if (outcome.violation === undefined) return false;
    best = smaller;
    result = outcome;
    return true;
  };
  // First cut off ends, then leave out ever smaller pieces.
  for (let keep = best.actions.length >> 1; keep > 0 && left > 0;) {
    if (attempt(best.actions.slice(0, keep))) keep = best.actions.length >> 1;
    else if (keep + 1 < best.actions.length) keep = (keep + best.actions.length + 1) >> 1;
    else break;
  }
  for (let piece = best.actions.length >> 1; piece > 0 && left > 0; piece >>= 1) {
    for (let at = 0; at < best.actions.length && left > 0;) {
      if (!attempt(best.actions.toSpliced(at, piece))) at += piece;
    }
  }
  return { plan: best, result };
}

/** A failing run for people: what broke, with which plan, and what happened last. */
export function report({ plan, result }: { plan: Plan; result: Result }): string {
  const { actions, ...rest } = plan;
  return [
    `seed ${plan.seed}: ${result.violation}`,
    `replay it with: bun run sim --seed ${plan.seed} --nodes ${plan.size.nodes} --tasks ${plan.size.tasks}`,
    JSON.stringify(rest),
    "shortest plan:",
    ...actions.map((action) => `  ${JSON.stringify(action)}`),
    "last events:",
    ...result.lines.slice(-60),
  ].join("\n");
}
