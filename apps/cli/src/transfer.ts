/**
 * Bytes between files and the Object Store: in constant memory, with their
 * SHA-256 checked in both directions, and no half-written file under its name.
 */
import { Fault } from "@spear/shared/fault.ts";
import { randomBytes } from "node:crypto";
import { open, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Client } from "./client.ts";
import { Progress } from "./progress.ts";
import { write } from "./output.ts";
import type { ObjectName } from "./values.ts";

const blockBytes = 1 << 20;
/** The store may take this long for one block, and to make the last one durable. */
const patienceMs = 120_000;

/** An object as the store describes it. */
export interface StoredObject {
  id: string;
  bucket: string;
  key: string;
  sizeBytes: number;
  sha256: string;
  etag: string;
  contentType: string;
  metadata: Record<string, string>;
  createdAtMs: number;
  generation: number;
}

/** Headers that carry user's metadata begin with this. */
export const metaPrefix = "x-spear-meta-";

export function objectPath({ bucket, key }: ObjectName): string {
  return `/v1/buckets/${encodeURIComponent(bucket)}/objects/${encodeURIComponent(key)}`;
}

export interface PutOptions {
  contentType?: string | undefined;
  metadata?: Readonly<Record<string, string>> | undefined;
  /** Only if the name points at nothing. */
  ifAbsent?: boolean | undefined;
  /** Draw a bar on standard error. */
  progress: boolean;
}

function fileFault(path: string, error: unknown): Fault {
  const code = (error as { code?: string }).code;
  const why =
    code === "ENOENT"
      ? "there is no such file"
      : code === "EISDIR"
        ? "it is a directory"
        : (error as Error).message;
  return new Fault("invalid_argument", `${path}: ${why}`, { field: "file", cause: error });
}

export async function openFile(
  path: string,
): Promise<{ file: FileHandle; size: number; modifiedAtMs: number }> {
  try {
    const info = await stat(path);
    if (info.isDirectory()) throw Object.assign(new Error(), { code: "EISDIR" });
    return { file: await open(path), size: info.size, modifiedAtMs: info.mtimeMs };
  } catch (error) {
    throw fileFault(path, error);
  }
}

/** A file's bytes from an offset on, to another, not included, or to its end. */
export async function* blocksOf(
  file: FileHandle,
  from = 0,
  to = Number.POSITIVE_INFINITY,
): AsyncGenerator<Uint8Array, void> {
  for (let position = from; position < to;) {
    const wanted = Math.min(blockBytes, to - position);
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(wanted), 0, wanted, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** SHA-256 of a file's bytes, in hex. */
export async function digestOf(file: FileHandle, from?: number, to?: number): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const block of blocksOf(file, from, to)) hasher.update(block);
  return hasher.digest("hex");
}

/** Aborts once the other side has let us wait for `patienceMs` without a pause. */
class Patience implements Disposable {
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** From now on we wait for the other side. */
  begin(): void {
    this.end();
    this.#timer = setTimeout(
      () => this.#controller.abort(new DOMException("no progress", "TimeoutError")),
      patienceMs,
    );
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  [Symbol.dispose](): void {
    this.end();
  }
}

/** A stream that is pulled block by block, so that what is not sent yet is not read. */
function streamOf(
  blocks: AsyncGenerator<Uint8Array, void>,
  patience: Patience,
): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        patience.end();
        const next = await blocks.next();
        patience.begin();
        if (next.done === true) controller.close();
        else controller.enqueue(next.value);
      },
      async cancel() {
        await blocks.return();
      },
    },
    { highWaterMark: 0 },
  );
}

async function* observed(
  blocks: AsyncIterable<Uint8Array>,
  see: (block: Uint8Array) => void,
): AsyncGenerator<Uint8Array, void> {
  for await (const block of blocks) {
    see(block);
    yield block;
  }
}

/** Stores a file, or standard input for `-`. A file that changes meanwhile is refused. */
export async function putObject(
  store: Client,
  path: string,
  name: ObjectName,
  options: PutOptions,
): Promise<StoredObject> {
  // A server that is away is noticed before the first byte is read.
  await store.request("GET", "/healthz").then((response) => response.body?.cancel());
  if (path === "-") return send(store, name, Bun.stdin.stream(), {}, undefined, options);
  const { file, size } = await openFile(path);
  try {
    const sha256 = await digestOf(file);
    const headers = { "x-spear-sha256": sha256, "content-length": String(size) };
    return await send(store, name, blocksOf(file), headers, size, options);
  } finally {
    await file.close();
  }
}

async function send(
  store: Client,
  name: ObjectName,
  source: AsyncIterable<Uint8Array>,
  headers: Record<string, string>,
  size: number | undefined,
  options: PutOptions,
): Promise<StoredObject> {
  const hasher = new Bun.CryptoHasher("sha256");
  using progress = new Progress(options.progress, "put", size);
  const metadata = Object.fromEntries(
    Object.entries(options.metadata ?? {}).map(([key, value]) => [`${metaPrefix}${key}`, value]),
  );
  const response = await sendBlocks(
    store,
    objectPath(name),
    {
      "content-type": options.contentType ?? "application/octet-stream",
      ...(options.ifAbsent === true ? { "if-none-match": "*" } : {}),
      ...metadata,
      ...headers,
    },
    observed(source, (block) => hasher.update(block)),
    progress,
  );
  const object = (await response.json()) as StoredObject;
  if (object.sha256 !== hasher.digest("hex")) {
    throw new Fault("checksum_mismatch", "the store received other bytes than were sent");
  }
  return object;
}

/** Puts bytes to a path of the store; resolves with an answer that is a success. */
export async function sendBlocks(
  store: Client,
  path: string,
  headers: Record<string, string>,
  source: AsyncIterable<Uint8Array>,
  progress: Progress,
): Promise<Response> {
  using patience = new Patience();
  const blocks = observed(source, (block) => progress.add(block.length));
  let response: Response;
  try {
    response = await fetch(store.url(path), {
      method: "PUT",
      headers: { ...store.headers(), ...headers },
      body: streamOf(blocks, patience),
      signal: patience.signal,
    });
  } catch (error) {
    throw store.unreachable(error);
  }
  if (!response.ok) throw await store.faultOf(response);
  return response;
}

/** Writes an object to a file, or to standard output for `-`; resolves with its size. */
export async function getObject(
  store: Client,
  path: string,
  target: string,
  showProgress: boolean,
): Promise<number> {
  const response = await store.request("GET", path, { timeoutMs: patienceMs });
  const expected = response.headers.get("x-spear-sha256");
  const length = response.headers.get("content-length");
  const size = length === null ? undefined : Number(length);
  using progress = new Progress(showProgress, "get", size);
  const hasher = new Bun.CryptoHasher("sha256");
  const blocks = observed(bodyOf(store, response), (block) => {
    hasher.update(block);
    progress.add(block.length);
  });
  const verify = (bytes: number) => {
    if (expected === null || expected === hasher.digest("hex")) return;
    throw new Fault("checksum_mismatch", `${path}: ${bytes} bytes came that are not the object's`);
  };
  if (target === "-") {
    let bytes = 0;
    for await (const block of blocks) {
      bytes += block.length;
      await write(process.stdout, block);
    }
    verify(bytes);
    return bytes;
  }
  return writeWhole(target, blocks, verify);
}

async function* bodyOf(store: Client, response: Response): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  try {
    for await (const block of response.body) yield block;
  } catch (error) {
    throw store.unreachable(error);
  }
}

/** The blocks as a file that appears under its name whole and verified, or not at all. */
async function writeWhole(
  target: string,
  blocks: AsyncIterable<Uint8Array>,
  verify: (bytes: number) => void,
): Promise<number> {
  const beside = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}`);
  let file: FileHandle;
  try {
    file = await open(beside, "wx");
  } catch (error) {
    throw fileFault(target, error);
  }
  let bytes = 0;
  try {
    try {
      for await (const block of blocks) {
        for (let from = 0; from < block.length;) {
          from += (await file.write(block, from)).bytesWritten;
        }
        bytes += block.length;
      }
      verify(bytes);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(beside, target).catch((error: unknown) => {
      throw fileFault(target, error);
    });
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  }
  return bytes;
}
