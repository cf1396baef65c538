/**
 * Segments in a bucket of an S3 service, where nothing can be appended to: each
 * batch of a group commit is a segment of its own, durable once its PUT is
 * answered (O1). The compactor puts small ones together. Only one Store writes
 * here, so after the first list it knows by itself what there is.
 */
import { Fault } from "@spear/shared/fault.ts";
import { placeInSegment } from "../chunk.ts";
import { GroupCommit } from "../group-commit.ts";
import { encodeEntries, headerBytes, Pending, readEntries } from "../segments.ts";
import type { SegmentEntry, Segments, SmallChunk } from "../segments.ts";
import type { S3Place } from "./place.ts";

const folder = "segments/";
const name = (segment: number) => `${folder}${String(segment).padStart(10, "0")}`;
/** PUTs at once: an answer takes long, but many may be awaited. */
const parallel = 4;

export class S3Segments implements Segments {
  readonly mergeBelowBytes = 1 << 20;
  readonly #place: S3Place;
  readonly #number: (atLeast: number) => Promise<number>;
  readonly #group: GroupCommit;
  readonly #pending = new Pending();
  /** Bytes of every segment. */
  readonly #sizes: Map<number, number>;
  readonly #last: number;

  private constructor(
    place: S3Place,
    number: (atLeast: number) => Promise<number>,
    maxBytes: number,
    sizes: Map<number, number>,
  ) {
    this.#place = place;
    this.#number = number;
    this.#sizes = sizes;
    this.#last = Math.max(0, ...sizes.keys());
    this.#group = new GroupCommit((batch) => this.#write(batch), maxBytes, parallel);
  }

  /**
   * Opens the segments of a place. `number` gives numbers that nobody has used,
   * greater than `atLeast`. Errors: `unavailable`.
   */
  static async open(
    place: S3Place,
    number: (atLeast: number) => Promise<number>,
    maxBytes: number,
  ): Promise<S3Segments> {
    const sizes = new Map<number, number>();
    for await (const { key, bytes } of place.list(folder)) {
      sizes.set(Number(key.slice(folder.length)), bytes);
    }
    return new S3Segments(place, number, maxBytes, sizes);
  }

  append(hash: Buffer, bytes: Buffer): Promise<Buffer> {
    return this.#group.append(hash, bytes);
  }

  settle(location: Buffer): void {
    this.#pending.settle(location);
  }

  async #write(batch: readonly SmallChunk[]): Promise<Buffer[]> {
    const segment = await this.#number(this.#last);
    if (this.#sizes.has(segment)) {
      throw new Fault("internal", `the number ${segment} of a segment was given twice`);
    }
    const { bytes, locations } = encodeEntries(batch, segment, 0);
    // If it fails it may have been done all the same; its number is not used again.
    await this.#place.put(name(segment), bytes);
    this.#sizes.set(segment, bytes.length);
    this.#pending.add(segment, batch.length);
    return locations;
  }

  async read(
    location: Buffer,
    target: Buffer,
    what: "chunk" | "entry" = "chunk",
  ): Promise<number | undefined> {
    const place = placeInSegment(location);
    const skipped = what === "chunk" ? headerBytes : 0;
    return place === undefined
      ? undefined
      : this.#place.get(name(place.segment), target, place.offset + skipped);
  }

  async sealed(): Promise<{ segment: number; bytes: number }[]> {
    return [...this.#sizes].flatMap(([segment, bytes]) =>
      this.#pending.has(segment) ? [] : { segment, bytes },
    );
  }

  async *entries(segment: number): AsyncGenerator<SegmentEntry> {
    const whole = Buffer.alloc(this.#sizes.get(segment) ?? 0);
    const filled = (await this.#place.get(name(segment), whole)) ?? 0;
    yield* readEntries(segment, async (target, offset) =>
      whole.copy(target, 0, offset, Math.min(filled, offset + target.length)),
    );
  }

  async remove(segment: number): Promise<void> {
    await this.#place.remove(name(segment));
    this.#sizes.delete(segment);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#group.idle();
  }
}
