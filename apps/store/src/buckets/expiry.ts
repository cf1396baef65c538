/**
 * Expiry: takes names away whose object is older than a rule of their bucket
 * allows. Only the name goes, and only if it still points at that object: what a
 * reference or a pin holds stays (O3). How old an object is stands in its id, so
 * looking for what is due reads names and no records. A pass over a large bucket
 * takes several runs, each bounded.
 */
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { Log } from "@spear/shared/log.ts";
import { nameOfMember, type NameMember } from "../objects/member.ts";
import { timeOfId } from "../objects/record.ts";
import type { ObjectIndex } from "../objects/redis.ts";
import type { StoreScripts } from "../objects/scripts.ts";
import { bucketOfEntry } from "./buckets.ts";
import type { BucketRules } from "./schema.ts";

const page = 1_000;
/** Pages that one run reads for each rule. */
const pagesPerRun = 20;

export class Expiry {
  readonly #scripts: StoreScripts;
  readonly #index: ObjectIndex;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Where the pass of a rule goes on, by bucket and prefix. */
  readonly #cursors = new Map<string, Buffer>();

  constructor(deps: { scripts: StoreScripts; index: ObjectIndex; clock: Clock; log: Log }) {
    this.#scripts = deps.scripts;
    this.#index = deps.index;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /** Does a run's share. Returns how many names went. */
  async run(signal: AbortSignal): Promise<number> {
    const { redis, keys } = this.#scripts;
    let expired = 0;
    for (const [bucket, entry] of Object.entries(
      await this.#scripts.call(redis.hgetall(keys.buckets)),
    )) {
      const { rules } = bucketOfEntry(entry);
      const { expiry = [] } = rules === "" ? {} : (JSON.parse(rules) as BucketRules);
      for (const rule of expiry) expired += await this.#sweep(bucket, rule, signal);
    }
    if (expired > 0) this.#log.info({ expired }, "names expired");
    return expired;
  }

  async #sweep(
    bucket: string,
    { prefix, afterMs }: { prefix: string; afterMs: number },
    signal: AbortSignal,
  ): Promise<number> {
    const { redis, keys } = this.#scripts;
    const pass = `${bucket}\0${prefix}`;
    const first = prefix === "" ? "-" : `[${prefix}`;
    const stop = prefix === "" ? "+" : Buffer.concat([Buffer.from(`(${prefix}`), Buffer.of(0xff)]);
    const oldestMs = this.#clock.nowMs() - afterMs;
    let expired = 0;
    for (let pages = 0; pages < pagesPerRun && !signal.aborted; pages++) {
      const members = await this.#scripts.call(
        redis.zrangeBuffer(
          keys.names(bucket),
          this.#cursors.get(pass) ?? first,
          stop,
          "BYLEX",
          "LIMIT",
          0,
          page,
        ),
      );
      const due = members.map(nameOfMember).filter(({ id }) => timeOfId(id) <= oldestMs);
      const gone = await Promise.all(due.map((name) => this.#remove(bucket, name)));
      expired += gone.filter(Boolean).length;
      const last = members.at(-1);
      if (last === undefined || members.length < page) {
        this.#cursors.delete(pass);
        break;
      }
      this.#cursors.set(pass, Buffer.concat([Buffer.from("("), last]));
    }
    return expired;
  }

  /** False if the name points at something else by now. */
  async #remove(bucket: string, { key, generation }: NameMember): Promise<boolean> {
    const condition = { ifGeneration: generation };
    try {
      return await this.#index.delete({ bucket, key }, condition, this.#clock.nowMs());
    } catch (error) {
      const { code } = Fault.from(error);
      if (code === "precondition_failed" || code === "bucket_not_found") return false;
      throw error;
    }
  }
}
