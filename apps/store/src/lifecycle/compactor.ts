/**
 * The compactor: a segment of which less than half is in use is copied to the
 * current one, chunk by chunk, each moved by a script that looks whether it
 * still lies where it did; many short ones are put together. An empty segment
 * goes a while later, when nobody that looked a chunk up before can still be on
 * the way to it.
 */
import type { Clock } from "@spear/shared/clock.ts";
import type { Log } from "@spear/shared/log.ts";
import type { PlacedChunk } from "../chunks/chunk.ts";
import type { SegmentEntry, Segments } from "../chunks/segments.ts";
import { failpoint } from "../failpoint.ts";
import { changeScript, type StoreScripts } from "../objects/scripts.ts";
import type { Locks } from "./lock.ts";
import dropLua from "./drop.lua" with { type: "text" };
import moveLua from "./move.lua" with { type: "text" };

/** How long an empty segment is kept for readers on the way, in milliseconds. */
const emptyKeptMs = 30_000;
/** So many short segments are put together, and no fewer. */
const fewestMerged = 16;
const mostMerged = 64;
/** Entries are moved together, so that they share writes: so many bytes, and so many of them. */
const movedBytes = 4 << 20;
const movedEntries = 1_000;

const dropScript = changeScript("drop", 0, dropLua);
export const moveScript = changeScript("move", 0, moveLua);

export class Compactor {
  readonly #scripts: StoreScripts;
  readonly #segments: Segments;
  readonly #locks: Locks;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #emptySinceMs = new Map<number, number>();

  constructor(deps: {
    scripts: StoreScripts;
    segments: Segments;
    locks: Locks;
    clock: Clock;
    log: Log;
  }) {
    this.#scripts = deps.scripts;
    this.#segments = deps.segments;
    this.#locks = deps.locks;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /** Does what is due now. Returns how many segments were removed. */
  run(signal: AbortSignal): Promise<number> {
    return this.#locks.hold("compact", async (fence, lost) => {
      const stop = AbortSignal.any([signal, lost]);
      const { redis, keys } = this.#scripts;
      let removed = 0;
      const short: number[] = [];
      for (const { segment, bytes } of await this.#segments.sealed()) {
        if (stop.aborted) break;
        const used = Number(
          (await this.#scripts.call(redis.hget(keys.segments, String(segment)))) ?? 0,
        );
        if (used > 0) {
          if (used * 2 < bytes) await this.#empty([segment], fence, stop);
          else if (bytes < this.#segments.mergeBelowBytes) short.push(segment);
        } else if (await this.#drop(segment, fence)) removed++;
      }
      if (short.length >= fewestMerged) {
        await this.#empty(short.slice(0, mostMerged), fence, stop);
      }
      return removed;
    });
  }

  /** Moves what is in use of segments to others. */
  async #empty(segments: readonly number[], fence: number, signal: AbortSignal): Promise<void> {
    const { redis, keys } = this.#scripts;
    let moving: SegmentEntry[] = [];
    let bytes = 0;
    const move = async () => {
      const moved = await Promise.all(moving.map((entry) => this.#move(entry, entry.data, fence)));
      moving = [];
      bytes = 0;
      return moved.every(Boolean);
    };
    for (const segment of segments) {
      for await (const entry of this.#segments.entries(segment)) {
        if (signal.aborted) return;
        const known = await this.#scripts.call(redis.hgetBuffer(keys.chunks, entry.hash));
        if (known === null || !known.subarray(4).equals(entry.location)) continue;
        if (!entry.intact) {
          this.#log.error({ segment, chunk: entry.hash.toString("hex") }, "a chunk is damaged");
          continue;
        }
        moving.push(entry);
        bytes += entry.bytes;
        if ((bytes >= movedBytes || moving.length >= movedEntries) && !(await move())) return;
      }
    }
    await move();
  }

  /** False if this holder's turn is over. */
  async #move(chunk: PlacedChunk, data: Buffer, fence: number): Promise<boolean> {
    const to = await this.#segments.append(chunk.hash, data);
    failpoint("compact.appended");
    const { status } = await this.#scripts.change(
      moveScript,
      [],
      [chunk.hash, chunk.location, to, chunk.bytes, fence],
    );
    failpoint("compact.moved");
    this.#segments.settle(to);
    return status === "ok";
  }

  async #drop(segment: number, fence: number): Promise<boolean> {
    const nowMs = this.#clock.nowMs();
    const since = this.#emptySinceMs.get(segment);
    if (since === undefined) this.#emptySinceMs.set(segment, nowMs);
    if (since === undefined || nowMs - since < emptyKeptMs) return false;
    this.#emptySinceMs.delete(segment);
    const { status } = await this.#scripts.change(dropScript, [], [segment, fence]);
    if (status !== "ok") return false;
    await this.#segments.remove(segment);
    return true;
  }
}
