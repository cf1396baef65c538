/** Blobs in a bucket of an S3 service: an object for each, which a PUT makes whole or not at all (O1). */
import type { Blobs, StoredBlob } from "../blobs.ts";
import type { S3Place } from "./place.ts";

const folder = "chunks/";

export class S3Blobs implements Blobs {
  readonly #place: S3Place;

  constructor(place: S3Place) {
    this.#place = place;
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    await this.#place.put(folder + name, bytes);
  }

  read(name: string, target: Buffer): Promise<number | undefined> {
    return this.#place.get(folder + name, target);
  }

  async remove(name: string): Promise<void> {
    await this.#place.remove(folder + name);
  }

  async *list(): AsyncGenerator<StoredBlob> {
    for await (const { key, ...rest } of this.#place.list(folder)) {
      yield { name: key.slice(folder.length), ...rest };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // It holds nothing that is to be closed.
  }
}
