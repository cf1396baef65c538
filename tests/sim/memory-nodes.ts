/** Node records in memory; see register.lua and its kin for what each step does. */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Node, NodeState, NodeUsage, UsageSample } from "@spear/shared/node.ts";
import { decodeNode, decodeUsage, usageFields, usageText } from "../../apps/sms/src/nodes/redis.ts";
import {
  type CordonCode,
  type DrainCode,
  type HeartbeatCode,
  type HoldCode,
  type LabelChange,
  type LabelCode,
  lossHalfLifeMs,
  maxLabels,
  type NodeStore,
  type OnlyIf,
  type RegisterCode,
  type Registration,
  type StandingCode,
  usageEveryMs,
  usageKept,
} from "../../apps/sms/src/nodes/store.ts";
import { type Fields, type MemoryState, numberAt } from "./memory.ts";

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
    for (const field of [...record.keys()]) if (field.startsWith("cx:")) record.delete(field);
    for (const [name, count] of Object.entries(extras)) record.set(`cx:${name}`, String(count));
    const described = JSON.stringify(document);
    const changed = record.get("doc") !== described;
    record.set("inc", incarnation).set("doc", described).set("seen", String(nowMs));
    if (known === undefined) {
      for (const field of ["uc", "um", "us"]) record.set(field, "0");
      record.set("reg", String(nowMs));
      state.nodes.set(id, record);
      state.nodeIds.add(id, 0);
    }
    state.lease(id, nowMs, leaseMs);
    if (before === undefined || before === "left") {
      const to = record.has("dr") ? "draining" : "ready";
      record.set("st", to);
      this.#emit(nowMs, "node.state", id, before ?? "", to, "registered");
    } else if (changed) this.#emit(nowMs, "node.changed", id, before, before, "registered");
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
      const to = record.has("dr") ? "draining" : "ready";
      record.set("st", to);
      this.#emit(nowMs, "node.state", id, from, to, "returned");
    }
    record.set("seen", String(nowMs));
    if (usage !== undefined) {
      const { use, has } = usageFields(usage);
      record.set("use", use);
      if (has !== "") record.set("has", has);
      this.#keepUsage(id, record, usage, nowMs);
    }
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
    this.#emit(nowMs, "node.state", id, from, to, reason);
    return Promise.resolve("ok");
  }

  #emit(nowMs: number, kind: string, id: NodeId, from: string, to: string, reason: string): void {
    this.#state.emit(nowMs, undefined, kind, "", "", id, 0, from, to, reason, "");
  }

  #keepUsage(id: NodeId, record: Fields, usage: NodeUsage, nowMs: number): void {
    const { nodeUsage } = this.#state;
    if (record.has("ut") && nowMs - numberAt(record, "ut") < usageEveryMs) return;
    record.set("ut", String(nowMs));
    const reserved = ["uc", "um", "us"].map((field) => numberAt(record, field));
    const line = [nowMs, usageText(usage), ...reserved].join(" ");
    nodeUsage.set(id, [line, ...(nodeUsage.get(id) ?? [])].slice(0, usageKept));
  }

  usage(id: NodeId): Promise<UsageSample[]> {
    return Promise.resolve((this.#state.nodeUsage.get(id) ?? []).map(decodeUsage).toReversed());
  }

  drain(id: NodeId, untilMs: number | undefined, nowMs: number): Promise<DrainCode> {
    const record = this.#state.nodes.get(id);
    if (record === undefined) return Promise.resolve("missing");
    const from = record.get("st") ?? "";
    const gone = from === "down" || from === "left";
    if (gone && untilMs !== undefined) return Promise.resolve("gone");
    if (untilMs !== undefined) record.set("dr", "1").set("dd", String(untilMs));
    else for (const field of ["dr", "dd"]) record.delete(field);
    const to = untilMs === undefined ? "ready" : "draining";
    if (gone || from === to) return Promise.resolve("ok");
    record.set("st", to);
    this.#emit(nowMs, "node.state", id, from, to, to === "draining" ? "drain" : "undrain");
    return Promise.resolve("ok");
  }

  cordon(id: NodeId, on: boolean, nowMs: number): Promise<CordonCode> {
    const record = this.#state.nodes.get(id);
    if (record === undefined) return Promise.resolve("missing");
    if (record.has("co") === on) return Promise.resolve("again");
    if (on) record.set("co", "1");
    else record.delete("co");
    const standing = record.get("st") ?? "";
    this.#emit(nowMs, "node.changed", id, standing, standing, on ? "cordon" : "uncordon");
    return Promise.resolve("ok");
  }

  label(id: NodeId, { set, remove }: LabelChange, nowMs: number): Promise<LabelCode> {
    const record = this.#state.nodes.get(id);
    if (record === undefined) return Promise.resolve("missing");
    const own = (JSON.parse(record.get("doc") ?? "{}") as Node).labels;
    const kept = new Map([...record].filter(([field]) => field.startsWith("lb:")));
    for (const [name, value] of Object.entries(set)) kept.set(`lb:${name}`, `=${value}`);
    for (const name of remove) {
      if (name in own) kept.set(`lb:${name}`, "-");
      else kept.delete(`lb:${name}`);
    }
    if (kept.size > maxLabels) return Promise.resolve("too_many");
    for (const field of [...record.keys()]) if (field.startsWith("lb:")) record.delete(field);
    for (const [field, value] of kept) record.set(field, value);
    const standing = record.get("st") ?? "";
    this.#emit(nowMs, "node.changed", id, standing, standing, "labels");
    return Promise.resolve("ok");
  }

  hold(id: NodeId, task: TaskId, untilMs: number, nowMs: number): Promise<HoldCode> {
    const record = this.#state.nodes.get(id);
    if (record === undefined) return Promise.resolve("missing");
    const heldFor = record.get("hf") ?? task;
    const takes = record.get("st") === "ready" && !record.has("co");
    if (!takes || (heldFor !== task && numberAt(record, "hu") > nowMs))
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
