/**
 * The hashes of streams, made beside the main thread: SHA-256 of a whole stream
 * costs more than all else that is done to its bytes, and BLAKE3 of its chunks
 * comes along. One worker serves all streams, in the order in which they ask.
 */
import { Fault } from "@spear/shared/fault.ts";
import type { HashAnswer, HashOrder } from "./hashing.worker.ts";

/** The hashes of one stream. The bytes must lie in shared memory and stay as they are until the answer. */
export interface StreamHash {
  /** Takes the next bytes of the stream; resolves with their BLAKE3. */
  update(bytes: Buffer): Promise<Buffer>;
  /** SHA-256 of all bytes; ends the stream, as must be done to each. */
  digest(): Promise<Buffer>;
}

interface Waiting {
  resolve(hash: Buffer): void;
  reject(error: unknown): void;
}

export class Hashing implements Disposable {
  #worker: Worker | undefined;
  #waiting: Waiting[] = [];
  #streams = 0;

  begin(): StreamHash {
    const stream = ++this.#streams;
    return {
      update: (bytes) => this.#ask({ stream, bytes }),
      digest: () => this.#ask({ stream }),
    };
  }

  #ask(order: HashOrder): Promise<Buffer> {
    const worker = (this.#worker ??= this.#start());
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    this.#waiting.push({ resolve, reject });
    worker.postMessage(order, []);
    return promise;
  }

  /** A store of small objects never needs one. */
  #start(): Worker {
    const worker = new Worker(new URL("./hashing.worker.ts", import.meta.url));
    worker.unref();
    worker.addEventListener("message", ({ data }: MessageEvent<HashAnswer>) => {
      this.#waiting.shift()?.resolve(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    });
    worker.addEventListener("error", ({ message }) => {
      this.#stop(new Fault("internal", `the hashing worker failed: ${message}`));
    });
    return worker;
  }

  #stop(reason: Fault): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const { reject } of this.#waiting.splice(0)) reject(reason);
  }

  [Symbol.dispose](): void {
    this.#stop(new Fault("unavailable", "the store is stopping"));
  }
}
