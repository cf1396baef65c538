/** Node records, leases and reservations in Redis: the typed wrapper of their scripts. */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Node, NodeState, NodeUsage, UsageSample } from "@spear/shared/node.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import type { Redis } from "ioredis";
import { extrasText } from "../tasks/record.ts";
import { smsScript } from "../tasks/redis.ts";
import cordonLua from "./cordon.lua" with { type: "text" };
import drainLua from "./drain.lua" with { type: "text" };
import heartbeatLua from "./heartbeat.lua" with { type: "text" };
import {
  type CordonCode,
  type DrainCode,
  type LabelChange,
  type LabelCode,
  lossHalfLifeMs,
  maxLabels,
  type NodeStore,
  type OnlyIf,
  type Registration,
  type RegisterCode,
  type HeartbeatCode,
  type HoldCode,
  type StandingCode,
  usageEveryMs,
  usageKept,
} from "./store.ts";
import labelLua from "./label.lua" with { type: "text" };
import registerLua from "./register.lua" with { type: "text" };
import holdLua from "./hold.lua" with { type: "text" };
import standingLua from "./standing.lua" with { type: "text" };

const register = smsScript<[string]>("node_register", 1, registerLua);
const heartbeat = smsScript<[string]>("node_heartbeat", 1, heartbeatLua);
const drain = smsScript<[DrainCode]>("node_drain", 1, drainLua);
const cordon = smsScript<[CordonCode]>("node_cordon", 1, cordonLua);
const label = smsScript<[LabelCode]>("node_label", 1, labelLua);
const hold = smsScript<[HoldCode]>("node_hold", 1, holdLua);
const standing = smsScript<[string, string]>("node_standing", 1, standingLua);

/** The part of a registration that no script reads. */
type Document = Omit<Registration, "id" | "incarnation">;

const noUsage: NodeUsage = { cpu: 0, memoryBytes: 0, running: 0, diskFreeBytes: 0, load1: 0 };

export class NodeRecords implements NodeStore {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #eventsKept: number;

  constructor(redis: Redis, keys: Keys, eventsKept: number) {
    this.#redis = redis;
    this.#keys = keys;
    this.#eventsKept = eventsKept;
  }

  async register(node: Registration, nowMs: number, leaseMs: number): Promise<RegisterCode> {
    const { id, incarnation, ...document } = node;
    const [code] = await register.run(
      this.#redis,
      [this.#keys.seq],
      [
        nowMs,
        this.#eventsKept,
        id,
        incarnation,
        Math.round(node.capacity.cpu * 1000),
        node.capacity.memoryBytes,
        node.capacity.slots,
        extrasText(node.capacity.extras),
        JSON.stringify(document satisfies Document),
        leaseMs,
      ],
    );
    return code as RegisterCode;
  }

  /** Renews the lease. `revive` makes a node that was given up ready again. */
  async heartbeat(
    id: NodeId,
    incarnation: string,
    usage: NodeUsage | undefined,
    nowMs: number,
    leaseMs: number,
    revive = false,
  ): Promise<HeartbeatCode> {
    const said = usage === undefined ? { use: "", has: "" } : usageFields(usage);
    const [code] = await heartbeat.run(
      this.#redis,
      [this.#keys.seq],
      [
        nowMs,
        this.#eventsKept,
        id,
        incarnation,
        said.use,
        leaseMs,
        revive ? "revive" : "",
        usage === undefined ? "" : usageText(usage),
        usageEveryMs,
        usageKept,
        said.has,
      ],
    );
    return code as HeartbeatCode;
  }

  /** Changes the standing; see standing.lua. */
  async setState(
    id: NodeId,
    to: NodeState,
    reason: string,
    nowMs: number,
    only: OnlyIf = {},
  ): Promise<StandingCode> {
    const [code] = await standing.run(
      this.#redis,
      [this.#keys.seq],
      [
        nowMs,
        this.#eventsKept,
        id,
        to,
        only.incarnation ?? "",
        reason,
        only.ifExpired === true ? "expired" : "",
        lossHalfLifeMs,
        only.epoch ?? "",
      ],
    );
    return code as StandingCode;
  }

  /** Drains a node or takes that back; see drain.lua. */
  async drain(id: NodeId, untilMs: number | undefined, nowMs: number): Promise<DrainCode> {
    const [code] = await drain.run(
      this.#redis,
      [this.#keys.seq],
      [nowMs, this.#eventsKept, id, untilMs === undefined ? "" : "1", untilMs ?? 0],
    );
    return code;
  }

  /** Lets nothing new onto a node, or takes that back; see cordon.lua. */
  async cordon(id: NodeId, on: boolean, nowMs: number): Promise<CordonCode> {
    const [code] = await cordon.run(
      this.#redis,
      [this.#keys.seq],
      [nowMs, this.#eventsKept, id, on ? "1" : ""],
    );
    return code;
  }

  /** Changes the labels over the node's own; see label.lua. */
  async label(id: NodeId, { set, remove }: LabelChange, nowMs: number): Promise<LabelCode> {
    const pairs = Object.entries(set);
    const [code] = await label.run(
      this.#redis,
      [this.#keys.seq],
      [nowMs, this.#eventsKept, id, maxLabels, pairs.length, ...pairs.flat(), ...remove],
    );
    return code;
  }

  /** What a node used in the last hour, oldest first. */
  async usage(id: NodeId): Promise<UsageSample[]> {
    const lines = await this.#redis.lrange(this.#keys.nodeUsage(id), 0, -1);
    return lines.map(decodeUsage).toReversed();
  }

  /** Keeps a node's room for one waiting task; see hold.lua. */
  async hold(id: NodeId, task: TaskId, untilMs: number, nowMs: number): Promise<HoldCode> {
    const [code] = await hold.run(
      this.#redis,
      [this.#keys.seq],
      [nowMs, this.#eventsKept, id, task, untilMs],
    );
    return code;
  }

  /** All node ids, oldest first. */
  ids(): Promise<NodeId[]> {
    return this.#redis.zrangebylex(this.#keys.nodes, "-", "+") as Promise<NodeId[]>;
  }

  /** Nodes whose lease should have run out by now. */
  expired(nowMs: number): Promise<NodeId[]> {
    return this.#redis.zrangebyscore(this.#keys.leases, "-inf", nowMs, "LIMIT", 0, 1000) as Promise<
      NodeId[]
    >;
  }

  async get(id: NodeId): Promise<Node | undefined> {
    return decodeNode(id, await this.#redis.hgetall(this.#keys.node(id)));
  }

  async list(): Promise<Node[]> {
    const nodes = await Promise.all((await this.ids()).map((id) => this.get(id)));
    return nodes.filter((node) => node !== undefined);
  }
}

/** What is kept of a usage: "cpu memory running disk load". */
export function usageText({ cpu, memoryBytes, running, diskFreeBytes, load1 }: NodeUsage): string {
  return [cpu, memoryBytes, running, diskFreeBytes, load1].join(" ");
}

/** A sample from its line: the time, `usageText`, and milli cpu, memory and slots reserved. */
export function decodeUsage(line: string): UsageSample {
  const [atMs = 0, cpu = 0, memoryBytes = 0, running = 0, diskFreeBytes = 0, load1 = 0, ...rest] =
    line.split(" ").map(Number);
  const [milli = 0, reservedMemoryBytes = 0, reservedSlots = 0] = rest;
  return {
    atMs,
    cpu,
    memoryBytes,
    running,
    diskFreeBytes,
    load1,
    reservedCpu: milli / 1000,
    reservedMemoryBytes,
    reservedSlots,
  };
}

/** Labels as they stand: the node's own, and what was set or hidden over them. */
function labelsOf(
  own: Readonly<Record<string, string>>,
  hash: Readonly<Record<string, string>>,
): Record<string, string> {
  const labels = { ...own };
  for (const [field, value] of Object.entries(hash)) {
    if (!field.startsWith("lb:")) continue;
    const name = field.slice(3);
    if (value === "-") delete labels[name];
    else labels[name] = value.slice(1);
  }
  return labels;
}

/** What of a heartbeat is kept: `has` is "" if the node did not say what it has. */
export function usageFields({ cached, ...usage }: NodeUsage): { use: string; has: string } {
  return {
    use: JSON.stringify(usage),
    has: cached === undefined ? "" : JSON.stringify(cached),
  };
}

/** A node from its hash; undefined if there is none. */
export function decodeNode(id: NodeId, hash: Record<string, string>): Node | undefined {
  if (hash["st"] === undefined || hash["doc"] === undefined) return undefined;
  const document = JSON.parse(hash["doc"]) as Document;
  const extras: Record<string, number> = {};
  for (const [field, value] of Object.entries(hash)) {
    if (field.startsWith("ux:")) extras[field.slice(3)] = Number(value);
  }
  return {
    id,
    ...document,
    labels: labelsOf(document.labels, hash),
    state: hash["st"] as NodeState,
    incarnation: hash["inc"] ?? "",
    reserved: {
      cpu: Number(hash["uc"]) / 1000,
      memoryBytes: Number(hash["um"]),
      slots: Number(hash["us"]),
      extras,
    },
    usage: {
      ...(hash["use"] === undefined ? noUsage : (JSON.parse(hash["use"]) as NodeUsage)),
      ...(hash["has"] === undefined
        ? {}
        : { cached: JSON.parse(hash["has"]) as NonNullable<NodeUsage["cached"]> }),
    },
    registeredAtMs: Number(hash["reg"]),
    lastSeenAtMs: Number(hash["seen"]),
    ...(hash["ls"] === undefined
      ? {}
      : { losses: Number(hash["ls"]), lostAtMs: Number(hash["la"]) }),
    ...(hash["co"] === undefined ? {} : { cordoned: true }),
    ...(hash["dr"] === undefined || hash["dd"] === "0" ? {} : { drainUntilMs: Number(hash["dd"]) }),
    ...(hash["hf"] === undefined ? {} : { heldFor: hash["hf"], heldUntilMs: Number(hash["hu"]) }),
  };
}
