/** scrub: reads every chunk again, at a bounded rate, and verifies it (O2). */
import { systemClock, type Clock } from "@spear/shared/clock.ts";
import type { Chunks } from "../chunks/chunks.ts";
import type { StoreScripts } from "../objects/scripts.ts";
import { decodeRecord, unpackId } from "../objects/record.ts";

const page = 200;

export interface Damage {
  /** BLAKE3 of the chunk, in hex. */
  readonly chunk: string;
  readonly detail: string;
  /** An object that needs it. */
  readonly objectId: string;
}

export interface ScrubReport {
  readonly chunks: number;
  readonly bytes: number;
  readonly damaged: Damage[];
}

/**
 * Verifies every chunk that an object needs, each once. May run beside a store
 * that works. `bytesPerSecond` bounds what it reads; Infinity: as fast as it can.
 */
export async function scrub(
  scripts: StoreScripts,
  chunks: Chunks,
  {
    bytesPerSecond,
    onProgress,
  }: {
    bytesPerSecond: number;
    onProgress?: ((chunks: number, bytes: number) => void) | undefined;
  },
  signal: AbortSignal,
  clock: Clock = systemClock,
): Promise<ScrubReport> {
  const { redis, keys } = scripts;
  const seen = new Set<string>();
  const damaged: Damage[] = [];
  const startedAtMs = clock.nowMs();
  let bytes = 0;
  let cursor = "0";
  do {
    const [next, flat] = await scripts.call(redis.hscanBuffer(keys.objects, cursor, "COUNT", page));
    for (let at = 0; at + 1 < flat.length; at += 2) {
      const [id, record] = [flat[at], flat[at + 1]] as [Buffer, Buffer];
      for (const chunk of decodeRecord(record).chunks) {
        signal.throwIfAborted();
        const name = chunk.hash.toString("base64");
        if (seen.has(name)) continue;
        seen.add(name);
        bytes += chunk.bytes;
        onProgress?.(seen.size, bytes);
        const problem = await chunks.verify(
          chunk,
          async () => {
            const entry = await scripts.call(redis.hgetBuffer(keys.chunks, chunk.hash));
            return entry?.subarray(4);
          },
          signal,
        );
        if (problem !== undefined) {
          // An object that was collected meanwhile takes its chunks along.
          if ((await scripts.call(redis.hexists(keys.objects, id))) === 0) continue;
          damaged.push({
            chunk: chunk.hash.toString("hex"),
            detail: problem.message,
            objectId: unpackId(id),
          });
        }
        const dueMs = startedAtMs + (bytes / bytesPerSecond) * 1_000;
        const earlyMs = dueMs - clock.nowMs();
        if (earlyMs > 0) await clock.wait(earlyMs, signal);
      }
    }
    cursor = next.toString();
  } while (cursor !== "0");
  return { chunks: seen.size, bytes, damaged };
}
