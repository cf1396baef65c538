/**
 * What keeps an object: its names, references with a holder, a pin. An object
 * that none of them keeps is doomed, and collected after a grace period (O3).
 */
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { ObjectId } from "@spear/shared/ids.ts";
import type { Objects } from "../objects/objects.ts";
import { decodeRecord, packId } from "../objects/record.ts";
import type { StoredObject } from "../objects/schema.ts";
import { changeScript, objectNotFound, readScript, type StoreScripts } from "../objects/scripts.ts";
import keepLua from "./keep.lua" with { type: "text" };
import type { Why } from "./schema.ts";
import whyLua from "./why.lua" with { type: "text" };

const mostRefs = 1_000;
const holderPattern = /^[!-~]{1,256}$/;

export const keepScript = changeScript("keep", 0, keepLua);
const whyScript = readScript("why", 0, whyLua);

export class Lifecycle {
  readonly #scripts: StoreScripts;
  readonly #objects: Objects;
  readonly #clock: Clock;
  readonly #graceMs: number;

  constructor(scripts: StoreScripts, objects: Objects, clock: Clock, graceMs: number) {
    this.#scripts = scripts;
    this.#objects = objects;
    this.#clock = clock;
    this.#graceMs = graceMs;
  }

  /**
   * Keeps an object alive for a holder; again for the same holder, it moves the
   * end. `ttlMs` 0: until it is removed. Errors: `object_not_found`,
   * `invalid_argument`, `too_many_requests` if it has as many as it may.
   */
  async addRef(id: ObjectId, holder: string, ttlMs: number): Promise<StoredObject> {
    if (!Number.isSafeInteger(ttlMs) || ttlMs < 0) {
      throw new Fault("invalid_argument", "ttlMs: must be a number of milliseconds", {
        field: "ttlMs",
      });
    }
    return this.#keep("ref", id, checkHolder(holder), ttlMs);
  }

  /** Takes a holder's reference away; idempotent. Errors: `object_not_found`. */
  async removeRef(id: ObjectId, holder: string): Promise<StoredObject> {
    return this.#keep("unref", id, checkHolder(holder));
  }

  /** Keeps an object until it is unpinned. Errors: `object_not_found`. */
  async pin(id: ObjectId): Promise<StoredObject> {
    return this.#keep("pin", id);
  }

  /** Takes the pin away; idempotent. Errors: `object_not_found`. */
  async unpin(id: ObjectId): Promise<StoredObject> {
    return this.#keep("unpin", id);
  }

  async #keep(what: string, id: ObjectId, holder = "", ttlMs = 0): Promise<StoredObject> {
    const nowMs = this.#clock.nowMs();
    const { status } = await this.#scripts.change(
      keepScript,
      [],
      [what, packId(id), nowMs, holder, ttlMs === 0 ? 0 : nowMs + ttlMs, mostRefs],
    );
    if (status === "too_many") {
      throw new Fault("too_many_requests", `the object has ${mostRefs} references already`, {
        field: "holder",
      });
    }
    if (status !== "ok") throw objectNotFound(id);
    return this.#objects.head(id);
  }

  /** Who keeps an object, or since when nobody does. Errors: `object_not_found`. */
  async why(id: ObjectId): Promise<Why> {
    const { status, rest } = await this.#scripts.read(whyScript, [], [packId(id)]);
    if (status !== "ok") throw objectNotFound(id);
    const [record, doomed, names, holders] = rest as [Buffer, Buffer, Buffer[], Buffer[]];
    const { pinned } = decodeRecord(record);
    const unkeptSinceMs = doomed.length === 0 ? undefined : Number(doomed.toString());
    return {
      objectId: id,
      kept: unkeptSinceMs === undefined,
      names: pairs(names).map(([bucket, key]) => ({ bucket, key })),
      pinned,
      refs: pairs(holders).map(([holder, ends]) =>
        ends === "0" ? { holder } : { holder, endsAtMs: Number(ends) },
      ),
      ...(unkeptSinceMs === undefined
        ? {}
        : { unkeptSinceMs, collectedAfterMs: unkeptSinceMs + this.#graceMs }),
    };
  }
}

function checkHolder(holder: string): string {
  if (holderPattern.test(holder)) return holder;
  throw new Fault("invalid_argument", "holder: must be 1–256 printable ASCII letters", {
    field: "holder",
  });
}

function pairs(flat: readonly Buffer[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, index) => [
    String(flat[index * 2]),
    String(flat[index * 2 + 1]),
  ]);
}
