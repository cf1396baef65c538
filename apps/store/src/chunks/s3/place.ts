/**
 * A place in a bucket of an S3 service: everything below a prefix. A PUT there is
 * whole or not there, and durable once it is answered; a list shows what was put
 * before it. All that is done here may be done twice, so what fails for a while
 * is tried again. Nothing waits for ever.
 */
import { Fault } from "@spear/shared/fault.ts";
import { storeFull } from "../space.ts";

export interface S3Settings {
  /** As `https://s3.eu-central-1.amazonaws.com`; undefined: Amazon's, by region. */
  endpoint: string | undefined;
  region: string;
  bucket: string;
  /** What all keys start with; empty or ends in a slash. */
  prefix: string;
  accessKeyId: string;
  secretAccessKey: string;
}

export interface S3Entry {
  /** Key behind the prefix. */
  readonly key: string;
  readonly bytes: number;
  readonly modifiedAtMs: number;
}

const tries = 4;
const firstPauseMs = 100;
const patienceMs = 30_000;
const page = 1_000;

const missing = "NoSuchKey";
const outside = "InvalidRange";
const refusals: ReadonlySet<string> = new Set([
  "AccessDenied",
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "NoSuchBucket",
  "InvalidBucketName",
  "PermanentRedirect",
]);
const full = /quota|storagefull|insufficientstorage/i;

function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? code : "";
}

export class S3Place {
  readonly #client: Bun.S3Client;
  readonly #settings: S3Settings;

  constructor(settings: S3Settings) {
    const { prefix: _, endpoint, ...rest } = settings;
    this.#client = new Bun.S3Client({ ...rest, ...(endpoint === undefined ? {} : { endpoint }) });
    this.#settings = settings;
  }

  /** As people name it: `s3://bucket/prefix`. */
  get name(): string {
    return `s3://${this.#settings.bucket}/${this.#settings.prefix}`;
  }

  /** Stores bytes under a key. Errors: `store_full`, `unavailable`. */
  async put(key: string, bytes: Uint8Array | Blob): Promise<void> {
    await this.#attempt(() => this.#client.write(this.#key(key), bytes));
  }

  /**
   * Reads from `offset` on into `target`, as far as either goes. Returns the
   * bytes read, or undefined if there is no such key. Errors: `unavailable`.
   */
  get(key: string, target: Buffer, offset = 0): Promise<number | undefined> {
    if (target.length === 0) return this.size(key).then((size) => size && 0);
    return this.#attempt(async (signal) => {
      const file = this.#client.file(this.#key(key)).slice(offset, offset + target.length);
      let filled = 0;
      try {
        for await (const piece of file.stream()) {
          // Whoever gave up has given the memory back.
          if (signal.aborted) return filled;
          const taken = piece.subarray(0, target.length - filled);
          target.set(taken, filled);
          filled += taken.length;
        }
      } catch (error) {
        if (codeOf(error) === missing) return undefined;
        if (codeOf(error) === outside) return 0;
        throw error;
      }
      return filled;
    });
  }

  /** Bytes under a key; undefined if there is none. Errors: `unavailable`. */
  size(key: string): Promise<number | undefined> {
    return this.#attempt(async () => {
      const file = this.#client.file(this.#key(key));
      return (await file.exists()) ? (await file.stat()).size : undefined;
    });
  }

  /** What is under a key, as a stream. */
  stream(key: string): ReadableStream<Uint8Array> {
    return this.#client.file(this.#key(key)).stream();
  }

  /** Removes a key; idempotent. Errors: `unavailable`. */
  async remove(key: string): Promise<void> {
    await this.#attempt(() =>
      this.#client.delete(this.#key(key)).catch((error: unknown) => {
        if (codeOf(error) !== missing) throw error;
      }),
    );
  }

  /** All below the prefix and `within`, in the order of the keys' bytes. Errors: `unavailable`. */
  async *list(within: string): AsyncGenerator<S3Entry> {
    const { length } = this.#settings.prefix;
    let startAfter: string | undefined;
    do {
      const answer = await this.#attempt(() =>
        this.#client.list({
          prefix: this.#key(within),
          maxKeys: page,
          ...(startAfter === undefined ? {} : { startAfter }),
        }),
      );
      const found = answer.contents ?? [];
      for (const { key, size, lastModified } of found) {
        yield {
          key: key.slice(length),
          bytes: size ?? 0,
          modifiedAtMs: Date.parse(String(lastModified)),
        };
      }
      startAfter = answer.isTruncated === true ? found.at(-1)?.key : undefined;
    } while (startAfter !== undefined);
  }

  #key(key: string): string {
    return this.#settings.prefix + key;
  }

  async #attempt<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const givenUp = new AbortController();
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error("no answer in time")), patienceMs);
      });
      try {
        return await Promise.race([work(givenUp.signal), late]);
      } catch (error) {
        if (attempt === tries || refusals.has(codeOf(error))) throw this.#fault(error);
        await Bun.sleep(firstPauseMs * 2 ** (attempt - 1));
      } finally {
        clearTimeout(timer);
        givenUp.abort();
      }
    }
  }

  #fault(error: unknown): Fault {
    const code = codeOf(error);
    if (full.test(code)) return storeFull(error);
    const why = code === "" ? (error as Error).message : code;
    return new Fault("unavailable", `${this.name} can't be used: ${why}`, {
      help: refusals.has(code)
        ? "check the bucket's name, its region and the access key"
        : "check that the S3 service runs and that its address is right, then try again",
      cause: error,
    });
  }
}
