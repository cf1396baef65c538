/**
 * Carries the output of attempts that have ended into the Object Store, tells SMS where
 * it is, and only then removes it here. What is not sealed yet is on the node's disk, so
 * nothing else has to be remembered: a SPEARlet that starts anew, a store or an SMS that
 * comes back find it there. How much can wait is bounded by the limits of `LogStore`.
 *
 * Sealing the same output twice changes nothing: what an earlier try has put is found
 * under its name.
 */
import type { AttemptSeal } from "@spear/proto/gen/spear/sms/v1/node.ts";
import { systemClock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import { outputBucket } from "@spear/shared/output.ts";
import {
  outputHolder,
  sealedKey,
  sealedParts,
  type SealedStream,
} from "@spear/shared/sealed-output.ts";
import type { StoreClient } from "@spear/shared/store/client.ts";
import type { ObjectInfo, PutRequest } from "@spear/shared/store/schema.ts";
import { attemptKey, type AttemptId } from "./attempt.ts";
import type { AttemptLog, LogPart } from "./attemptlog.ts";
import type { LogStore } from "./logs.ts";

/** Attempts whose output is on its way at the same time: store and SMS take many as one. */
const lanes = 32;
/** Pause after a try that failed, and how late a reader's end is seen, in milliseconds. */
const periodMs = 5_000;
/**
 * What ends within this time after a step is sealed by the next, in milliseconds: many at
 * once cost half of what they cost one by one, which short tasks would feel.
 */
const gapMs = 200;
/** Up to here a part is sent from memory, and so again if need be. */
const wholeBytes = 256 << 10;
const drainPollMs = 50;

export interface SealerDeps {
  logs: LogStore;
  store: StoreClient;
  /** Tells SMS; false if the task is no more. Waits for as long as SMS is away. */
  tell: (id: AttemptId, seal: AttemptSeal, signal: AbortSignal) => Promise<boolean>;
  log: Log;
}

export class Sealer implements AsyncDisposable {
  readonly #deps: SealerDeps;
  #loop: Loop | undefined;
  readonly #stop = new AbortController();
  /** Attempts whose output is in the store, by key. */
  readonly #stored = new Set<string>();
  /** Of which SMS knows too. */
  readonly #known = new Set<AttemptLog>();
  /** Those that could not be stored; said once. */
  readonly #troubled = new Set<string>();
  #away = false;

  constructor(deps: SealerDeps) {
    this.#deps = deps;
  }

  /** Begins, once it is known which attempts of an earlier run go on. */
  start(): void {
    this.#loop = new Loop("sealer", periodMs, this.#deps.log, () => this.#step(), { gapMs });
  }

  /** Some output has ended. */
  signalled(): void {
    this.#loop?.signalled();
  }

  async #step(): Promise<void> {
    const { logs, store, log } = this.#deps;
    for (const known of this.#known) if (!known.inUse) await this.#remove(known);
    if (!store.present) return;
    const waiting = logs.ended().filter(({ id }) => !this.#stored.has(attemptKey(id)));
    const queue = waiting.values();
    const ends = await Promise.allSettled(
      Array.from({ length: Math.min(lanes, waiting.length) }, async () => {
        for (const one of queue) await this.#try(one);
      }),
    );
    const failed = ends.find((end) => end.status === "rejected");
    if (failed !== undefined && !this.#away && !this.#stop.signal.aborted) {
      log.warn({ err: failed.reason as unknown }, "output can't be sealed now");
    }
    this.#away = failed !== undefined;
  }

  /** Throws if the store is away; what is wrong with one alone does not hold up the others. */
  async #try(log: AttemptLog): Promise<void> {
    const key = attemptKey(log.id);
    try {
      await this.#seal(log);
      this.#troubled.delete(key);
    } catch (error) {
      const fault = Fault.from(error);
      if (fault.code === "unavailable" || this.#stop.signal.aborted) throw error;
      if (!this.#troubled.has(key)) {
        this.#deps.log.warn({ err: error, ...log.id }, "the output of an attempt can't be sealed");
      }
      this.#troubled.add(key);
    }
  }

  async #seal(log: AttemptLog): Promise<void> {
    const { store } = this.#deps;
    const { signal } = this.#stop;
    const streams: SealedStream[] = [];
    for (const part of log.parts()) {
      const { id } = await this.#put(log.id, part);
      await store.addRef(id, outputHolder(log.id.taskId), signal);
      const { part: stream, offset, sizeBytes } = part;
      streams.push({ stream, objectId: id, offset, sizeBytes });
    }
    this.#stored.add(attemptKey(log.id));
    void this.#tell(log, streams);
  }

  async #put({ taskId, attempt }: AttemptId, part: LogPart): Promise<ObjectInfo> {
    const { store } = this.#deps;
    const { signal } = this.#stop;
    const { sizeBytes } = part;
    await store.ensureBucket(outputBucket, signal);
    const request: PutRequest = {
      bucket: outputBucket,
      key: sealedKey(taskId, attempt, part.part),
      sizeBytes,
      metadata: { offset: String(part.offset) },
    };
    const body = async () =>
      sizeBytes > wholeBytes ? part.read() : Buffer.concat(await Array.fromAsync(part.read()));
    try {
      return await store.put({ ...request, condition: { ifAbsent: true } }, await body(), signal);
    } catch (error) {
      if (!(error instanceof Fault && error.code === "precondition_failed")) throw error;
    }
    const there = await store.head(request, signal);
    if (there.sizeBytes === sizeBytes) return there;
    return store.put(request, await body(), signal);
  }

  async #tell(log: AttemptLog, streams: SealedStream[]): Promise<void> {
    const { tell, log: said } = this.#deps;
    const { signal } = this.#stop;
    try {
      if (await tell(log.id, { streams }, signal)) this.#known.add(log);
      else await this.#discard(log, streams);
      this.signalled();
    } catch (error) {
      if (!signal.aborted) said.warn({ err: error, ...log.id }, "output can't be given up now");
      // The next step does it all again.
      this.#stored.delete(attemptKey(log.id));
    }
  }

  /** The task is no more: nobody will ask for its output. */
  async #discard(log: AttemptLog, streams: readonly SealedStream[]): Promise<void> {
    const { store } = this.#deps;
    const { signal } = this.#stop;
    const { taskId, attempt } = log.id;
    for (const { stream, objectId } of streams) {
      await store.delete({ bucket: outputBucket, key: sealedKey(taskId, attempt, stream) }, signal);
      await store.removeRef(objectId, outputHolder(taskId), signal);
    }
    this.#known.add(log);
  }

  async #remove(log: AttemptLog): Promise<void> {
    this.#known.delete(log);
    this.#stored.delete(attemptKey(log.id));
    this.#troubled.delete(attemptKey(log.id));
    await this.#deps.logs.remove(log);
  }

  /** Resolves when all that has ended is sealed, or after `patienceMs`. */
  async drain(patienceMs: number): Promise<void> {
    const { logs, store } = this.#deps;
    const endMs = systemClock.nowMs() + patienceMs;
    while (store.present && logs.ended().length > 0 && systemClock.nowMs() < endMs) {
      this.signalled();
      await systemClock.wait(drainPollMs);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("cancelled", "the node stops"));
    await this.#loop?.[Symbol.asyncDispose]();
  }
}

/** Output that was sealed, by its names; empty if there is none. Throws `unavailable`. */
export async function findSealed(
  store: StoreClient,
  { taskId, attempt }: AttemptId,
  signal: AbortSignal,
): Promise<SealedStream[]> {
  const found = await Promise.all(
    sealedParts.map(async (stream) => {
      try {
        const key = sealedKey(taskId, attempt, stream);
        const info = await store.head({ bucket: outputBucket, key }, signal);
        const offset = Number(info.metadata["offset"] ?? 0);
        return { stream, objectId: info.id, offset, sizeBytes: info.sizeBytes };
      } catch (error) {
        if (error instanceof Fault && error.row.http === 404) return undefined;
        throw error;
      }
    }),
  );
  return found.filter((stream) => stream !== undefined);
}
