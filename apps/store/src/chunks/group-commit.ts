/**
 * Group commit: what arrives while one batch is being written is the next batch,
 * so that many clients share one write (O1). The queue is bounded.
 */
import { Fault } from "@spear/shared/fault.ts";
import { batchBytes, headerBytes, type SmallChunk } from "./segments.ts";

const queueBytes = 64 << 20;

/** Makes a batch durable and says where each of it lies. */
type WriteBatch = (batch: readonly SmallChunk[]) => Promise<readonly Buffer[]>;

interface Waiting extends SmallChunk {
  resolve(location: Buffer): void;
  reject(error: unknown): void;
}

export class GroupCommit {
  readonly #write: WriteBatch;
  readonly #maxBytes: number;
  readonly #parallel: number;
  readonly #queue: Waiting[] = [];
  readonly #writing = new Set<Promise<void>>();
  #queuedBytes = 0;

  /** `maxBytes`: where a batch ends; `parallel`: how many are written at once. */
  constructor(write: WriteBatch, maxBytes: number, parallel: number) {
    this.#write = write;
    this.#maxBytes = Math.min(batchBytes, maxBytes);
    this.#parallel = parallel;
  }

  /** Resolves with where the chunk lies. Errors: `too_many_requests`, and the write's. */
  append(hash: Buffer, bytes: Buffer): Promise<Buffer> {
    if (this.#queuedBytes > queueBytes) {
      return Promise.reject(new Fault("too_many_requests", "too many small puts wait"));
    }
    this.#queuedBytes += bytes.length;
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    this.#queue.push({ hash, bytes, resolve, reject });
    if (this.#writing.size < this.#parallel) {
      const writing = this.#drain().finally(() => this.#writing.delete(writing));
      this.#writing.add(writing);
    }
    return promise;
  }

  async #drain(): Promise<void> {
    // What comes in the same turn belongs to the same batch.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const batch = this.#take();
      try {
        const locations = await this.#write(batch);
        for (const [index, one] of batch.entries()) one.resolve(locations[index] as Buffer);
      } catch (error) {
        for (const one of batch) one.reject(error);
      }
    }
  }

  #take(): Waiting[] {
    let taken = 0;
    for (let size = 0; taken < this.#queue.length && size < this.#maxBytes; taken++) {
      const { bytes } = this.#queue[taken] as Waiting;
      size += headerBytes + bytes.length;
      this.#queuedBytes -= bytes.length;
    }
    return this.#queue.splice(0, taken);
  }

  /** Resolves when nothing is being written any more. */
  async idle(): Promise<void> {
    while (this.#writing.size > 0) await Promise.all(this.#writing);
  }
}
