/**
 * Whose room a task of higher priority may take: a pure function of what it needs and of
 * what runs where. It takes the fewest attempts from one node; of as many, those of the
 * lowest priority; of these the youngest, which have the least to lose. Up to
 * `exactVictims` the fewest are found for certain, beyond that none is taken in vain.
 */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Need } from "../tasks/record.ts";
import { type Demand, hasRoom, type NodeView, type Room } from "./place.ts";

/** An attempt that holds room on a node. */
export interface Holder {
  id: TaskId;
  attempt: number;
  need: Need;
  priority: number;
  assignedAtMs: number;
  /** How long it may take to end, in milliseconds. */
  graceMs: number;
  /** Its room may be taken. */
  preemptible: boolean;
  /** It leaves already: its room counts as free. */
  leaving: boolean;
}

export interface Eviction {
  nodeId: NodeId;
  victims: readonly Holder[];
}

/** Sets of so many victims are all tried, of the most likely `exactAmong`. */
const exactVictims = 3;
const exactAmong = 24;

/** Whom to take first: of lower priority, then younger. */
function byValue(a: Holder, b: Holder): number {
  return a.priority - b.priority || b.assignedAtMs - a.assignedAtMs || (a.id < b.id ? -1 : 1);
}

/** What is reserved on a node once these are gone. */
function without(reserved: Room, gone: readonly Holder[]): Room {
  const room = { ...reserved, extras: { ...reserved.extras } };
  for (const { need } of gone) {
    room.cpuMilli -= need.cpuMilli;
    room.memoryBytes -= need.memoryBytes;
    room.slots -= 1;
    for (const [name, count] of Object.entries(need.extras))
      room.extras[name] = (room.extras[name] ?? 0) - count;
  }
  return room;
}

/** All sets of `size` of the items, those with the first items first. */
function* setsOf<T>(items: readonly T[], size: number, from = 0): Generator<T[]> {
  if (size === 0) yield [];
  for (let at = from; size > 0 && at <= items.length - size; at++) {
    for (const rest of setsOf(items, size - 1, at + 1)) yield [items[at] as T, ...rest];
  }
}

/** Whose room has to be taken on this node; undefined if taking all that may be taken is not enough. */
function victimsOn(
  demand: Demand,
  priority: number,
  { capacity, reserved }: NodeView,
  holders: readonly Holder[],
): Holder[] | undefined {
  const left = without(
    reserved,
    holders.filter(({ leaving }) => leaving),
  );
  const fits = (victims: readonly Holder[]) => hasRoom(demand, capacity, without(left, victims));
  const candidates = holders
    .filter((one) => one.preemptible && !one.leaving && one.priority < priority)
    .toSorted(byValue);
  if (!fits(candidates)) return undefined;
  for (let size = 0; size <= exactVictims; size++) {
    for (const victims of setsOf(candidates.slice(0, exactAmong), size)) {
      if (fits(victims)) return victims;
    }
  }
  let victims = [...candidates];
  for (const dearest of candidates.toReversed()) {
    const fewer = victims.filter((one) => one !== dearest);
    if (fits(fewer)) victims = fewer;
  }
  return victims;
}

/** Fewer victims first, then such of lower priority, then younger ones. */
function compare(a: Eviction, b: Eviction): number {
  const [ours, theirs] = [a, b].map(({ victims }) => victims.toSorted(byValue).at(-1));
  return (
    a.victims.length - b.victims.length ||
    (ours === undefined || theirs === undefined
      ? 0
      : ours.priority - theirs.priority || theirs.assignedAtMs - ours.assignedAtMs) ||
    (a.nodeId < b.nodeId ? -1 : 1)
  );
}

/**
 * The node on which a task of that priority gets room at the least cost for others;
 * undefined if it would not fit anywhere. The nodes must suit the task. No victims: what
 * leaves there already is enough.
 */
export function evictionFor(
  demand: Demand,
  priority: number,
  nodes: readonly { node: NodeView; holders: readonly Holder[] }[],
): Eviction | undefined {
  return nodes
    .flatMap(({ node, holders }) => {
      const victims = victimsOn(demand, priority, node, holders);
      return victims === undefined ? [] : [{ nodeId: node.id, victims }];
    })
    .toSorted(compare)
    .at(0);
}
