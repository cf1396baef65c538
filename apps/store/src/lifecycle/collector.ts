/**
 * The collector ends references whose time is up, collects objects that nothing
 * has kept for the grace period, and removes condemned blobs. Each object is one
 * script that looks again, so nothing that came to be kept in between goes (O3);
 * a blob's location is never used twice, so removing one can't hurt a put that
 * stores the same bytes again at the same time. What is being read stays until
 * it was read, and nothing goes while a backup is being taken.
 */
import type { Clock } from "@spear/shared/clock.ts";
import type { Log } from "@spear/shared/log.ts";
import { failpoint } from "../failpoint.ts";
import type { Blobs } from "../chunks/blobs.ts";
import { blobName, hashBytes } from "../chunks/chunk.ts";
import { unpackId } from "../objects/record.ts";
import { changeScript, type StoreScripts } from "../objects/scripts.ts";
import type { Readers } from "../objects/readers.ts";
import collectLua from "./collect.lua" with { type: "text" };
import { keepScript } from "./lifecycle.ts";
import { isHeld } from "./hold.ts";
import type { Locks } from "./lock.ts";

const batch = 256;
const idBytes = 16;

export const collectScript = changeScript("collect", 0, collectLua);

export class Collector {
  readonly #scripts: StoreScripts;
  readonly #blobs: Blobs;
  readonly #locks: Locks;
  readonly #readers: Readers;
  readonly #clock: Clock;
  readonly #graceMs: number;
  readonly #log: Log;

  constructor(deps: {
    scripts: StoreScripts;
    blobs: Blobs;
    locks: Locks;
    readers: Readers;
    clock: Clock;
    graceMs: number;
    log: Log;
  }) {
    this.#scripts = deps.scripts;
    this.#blobs = deps.blobs;
    this.#locks = deps.locks;
    this.#readers = deps.readers;
    this.#clock = deps.clock;
    this.#graceMs = deps.graceMs;
    this.#log = deps.log;
  }

  /** Does what is due now. Returns how many objects were collected. */
  run(signal: AbortSignal): Promise<number> {
    return this.#locks.hold("collect", async (fence, lost) => {
      const stop = AbortSignal.any([signal, lost]);
      await this.#expire(stop);
      const collected = await this.#collect(fence, stop);
      await this.#remove(stop);
      if (collected > 0) this.#log.info({ collected }, "objects were collected");
      return collected;
    });
  }

  async #expire(signal: AbortSignal): Promise<void> {
    const { redis, keys } = this.#scripts;
    const nowMs = this.#clock.nowMs();
    while (!signal.aborted) {
      const due = await this.#scripts.call(
        redis.zrangeBuffer(keys.expiries, "-inf", String(nowMs), "BYSCORE", "LIMIT", 0, batch),
      );
      for (const member of due) {
        const id = member.subarray(0, idBytes);
        await this.#scripts.change(
          keepScript,
          [],
          ["unref", id, nowMs, member.subarray(idBytes), 0, 0],
        );
      }
      if (due.length < batch) return;
    }
  }

  async #pauses(signal: AbortSignal): Promise<boolean> {
    return signal.aborted || (await isHeld(this.#scripts, this.#clock));
  }

  async #collect(fence: number, signal: AbortSignal): Promise<number> {
    const { redis, keys } = this.#scripts;
    const since = this.#clock.nowMs() - this.#graceMs;
    let collected = 0;
    for (let passed = 0; !(await this.#pauses(signal));) {
      const due = await this.#scripts.call(
        redis.zrangeBuffer(keys.doomed, "-inf", String(since), "BYSCORE", "LIMIT", passed, batch),
      );
      for (const id of due) {
        if (this.#readers.reads(unpackId(id))) {
          passed++;
          continue;
        }
        const { status, rest } = await this.#scripts.change(collectScript, [], [id, since, fence]);
        if (status === "stale_fence") return collected;
        if (rest[0] !== 0) collected++;
        failpoint("collect.forgotten");
      }
      if (due.length < batch) break;
    }
    return collected;
  }

  /** Removes condemned blobs; one that a crash left behind goes the next time. */
  async #remove(signal: AbortSignal): Promise<void> {
    const { redis, keys } = this.#scripts;
    while (!(await this.#pauses(signal))) {
      const members = await this.#scripts.call(redis.srandmemberBuffer(keys.condemned, batch));
      if (members === null || members.length === 0) return;
      for (const member of members) {
        await this.#blobs.remove(
          blobName(member.subarray(0, hashBytes), member.subarray(hashBytes)),
        );
      }
      failpoint("collect.removed");
      await this.#scripts.call(redis.srem(keys.condemned, ...members));
    }
  }
}
