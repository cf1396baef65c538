/** Node records in memory; see register.lua and its kin for what each step does. */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Node, NodeState, NodeUsage } from "@spear/shared/node.ts";
import { decodeNode } from "../../apps/sms/src/nodes/redis.ts";
import {
  type HeartbeatCode,
  type HoldCode,
  lossHalfLifeMs,
  type NodeStore,
  type OnlyIf,
  type RegisterCode,
  type Registration,
  type StandingCode,
} from "../../apps/sms/src/nodes/store.ts";
import { type MemoryState, numberAt } from "./memory.ts";

export class MemoryNodes implements NodeStore {
  readonly #state: MemoryState;

  constructor(state: MemoryState) {
    this.#state = state;
  }

  register(node: Registration, nowMs: number, leaseMs: number): Promise<RegisterCode> {
    const state = this.#state;
    const { id, incarnation, ...document } = node;
    const known = state.nodes.get(id);
    const record = known ?? new Map<string, string>();
    const [before, same] = [record.get("st"), record.get("inc") === incarnation];
    const { cpu, memoryBytes, slots, extras } = node.capacity;
    const capacity = { cc: Math.round(cpu * 1000), cm: memoryBytes, cs: slots };
    for (const [field, value] of Object.entries(capacity)) record.set(field, String(value));
    for (const [name, count] of Object.entries(extras)) record.set(`cx:${name}`, String(count));
    record.set("inc", incarnation).set("doc", JSON.stringify(document)).set("seen", String(nowMs));
    if (known === undefined) {
      for (const field of ["uc", "um", "us"]) record.set(field, "0");
      record.set("reg", String(nowMs));
      state.nodes.set(id, record);
      state.nodeIds.add(id, 0);
    }
    state.lease(id, nowMs, leaseMs);
    if (before === undefined || before === "left") {
      record.set("st", "ready");
      state.emit(
        nowMs,
        undefined,
        "node.state",
        "",
        "",
        id,
        0,
        before ?? "",
        "ready",
        "registered",
        "",
      );
    }
    return Promise.resolve(known === undefined ? "new" : same ? "same" : "restarted");
  }

  heartbeat(
    id: NodeId,
    incarnation: string,
    usage: NodeUsage | undefined,
    nowMs: number,
    leaseMs: number,
    revive = false,
  ): Promise<HeartbeatCode> {
    const record = this.#state.nodes.get(id);
    if (record === undefined) return Promise.resolve("missing");
    if (record.get("inc") !== incarnation) return Promise.resolve("stale");
    const from = record.get("st") ?? "";
    if (from === "down" || from === "left") {
      if (!revive) return Promise.resolve("down");
      record.set("st", "ready");
      this.#state.emit(
        nowMs,
        undefined,
        "node.state",
        "",
        "",
        id,
        0,
        from,
        "ready",
        "returned",
        "",
      );
    }
    record.set("seen", String(nowMs));
    if (usage !== undefined) record.set("use", JSON.stringify(usage));
    this.#state.lease(id, nowMs, leaseMs);
    return Promise.resolve("ok");
  }

  setState(
    id: NodeId,
    to: NodeState,
    reason: string,
    nowMs: number,
    only: OnlyIf = {},
  ): Promise<StandingCode> {
    const state = this.#state;
    const record = state.nodes.get(id);
    if (record === undefined) return Promise.resolve("missing");
    if (only.epoch !== undefined && only.epoch !== state.leaderEpoch)
      return Promise.resolve("deposed");
    if (only.incarnation !== undefined && only.incarnation !== record.get("inc"))
      return Promise.resolve("stale");
    if (only.ifExpired === true && state.leaseAlive(id)) return Promise.resolve("alive");
    const from = record.get("st") ?? "";
    if (to === "down" || to === "left") {
      state.leaseKeys.delete(id);
      state.leases.delete(id);
    }
    if (from === to || (to === "down" && from === "left")) return Promise.resolve("again");
    if (to === "down") {
      const since = record.has("la") ? Math.max(0, nowMs - numberAt(record, "la")) : 0;
      const losses = numberAt(record, "ls") * 2 ** (-since / lossHalfLifeMs) + 1;
      record.set("ls", losses.toFixed(3)).set("la", String(nowMs));
    }
    record.set("st", to);
    state.emit(nowMs, undefined, "node.state", "", "", id, 0, from, to, reason, "");
    return Promise.resolve("ok");
  }

  hold(id: NodeId, task: TaskId, untilMs: number, nowMs: number): Promise<HoldCode> {
    const record = this.#state.nodes.get(id);
    if (record === undefined) return Promise.resolve("missing");
    const heldFor = record.get("hf") ?? task;
    if (record.get("st") !== "ready" || (heldFor !== task && numberAt(record, "hu") > nowMs))
      return Promise.resolve("taken");
    record.set("hf", task).set("hu", String(untilMs));
    return Promise.resolve("ok");
  }

  ids(): Promise<NodeId[]> {
    return Promise.resolve(this.#state.nodeIds.slice(0, this.#state.nodeIds.size));
  }

  expired(nowMs: number): Promise<NodeId[]> {
    const { leases } = this.#state;
    return Promise.resolve(
      leases.slice(0, 1_000).filter((id) => (leases.scoreOf(id) ?? 0) <= nowMs),
    );
  }

  /** The node as it is at this moment. */
  read(id: NodeId): Node | undefined {
    return decodeNode(id, Object.fromEntries(this.#state.nodes.get(id) ?? []));
  }

  get(id: NodeId): Promise<Node | undefined> {
    return Promise.resolve(this.read(id));
  }

  list(): Promise<Node[]> {
    const { nodeIds } = this.#state;
    return Promise.resolve(
      nodeIds
        .slice(0, nodeIds.size)
        .map((id) => this.read(id))
        .filter((one) => one !== undefined),
    );
  }
}
