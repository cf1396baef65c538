/**
 * The corruption suite: a byte of each kind is flipped in a chunk, a segment and the
 * journal. What comes of it is an error that names what is damaged, and never wrong
 * bytes (O2); scrub finds it.
 */
import { expect, test } from "bun:test";
import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";
import { hashOf } from "../chunks/chunk.ts";
import { rebuildStore, scrubStore } from "./maintenance.ts";

const never = new AbortController().signal;
const bucket = "bucket";
const large = Buffer.alloc(200_000, "a large object ");
const small = Buffer.alloc(3_000, "a small object ");
const neighbour = Buffer.alloc(2_000, "the one behind it ");
const headerBytes = 40;

async function put({ store }: TestStore, key: string, bytes: Buffer): Promise<void> {
  const body = async function* () {
    yield Buffer.from(bytes);
  };
  await store.objects.put({ bucket, key }, body(), never);
}

async function read({ store }: TestStore, key: string): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const { body } = await store.objects.open({ bucket, key }, never);
  for await (const piece of body) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

/** The files below a directory of the store's, with their paths. */
async function filesIn({ config }: TestStore, directory: string): Promise<string[]> {
  const root = join(config.dataDir, directory);
  const found = await readdir(root, { recursive: true, withFileTypes: true });
  return found
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name))
    .toSorted();
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
  await writeFile(path, bytes);
}

async function withObjects(): Promise<TestStore> {
  const running = await startTestStore({ journalBytes: 1 << 10 });
  await running.store.buckets.create(bucket, false);
  await put(running, "large", large);
  await put(running, "small", small);
  await put(running, "neighbour", neighbour);
  return running;
}

const scrub = ({ config }: TestStore) => scrubStore(config, Infinity, never, silentLog);

/** Reading a key fails and names its chunk, and a scrub finds that and nothing else. */
async function isDamaged(running: TestStore, key: string, bytes: Buffer): Promise<void> {
  const chunk = hashOf(bytes).toString("hex");
  const fault = await read(running, key).then(() => undefined, Fault.from);
  expect(fault?.code).toBe("object_corrupted");
  expect(fault?.message).toContain(chunk);
  expect((await scrub(running)).damaged.map((one) => one.chunk)).toEqual([chunk]);
}

test.each<[string, (path: string) => Promise<void>]>([
  ["its first byte flipped", (path) => flip(path, 0)],
  ["a byte in the middle flipped", (path) => flip(path, large.length / 2)],
  ["its last byte flipped", (path) => flip(path, large.length - 1)],
  ["its end cut off", (path) => truncate(path, large.length - 1)],
  ["nothing left", (path) => truncate(path, 0)],
])("a chunk with %s is an error that names it", async (_, damage) => {
  await using running = await withObjects();
  const [path = ""] = await filesIn(running, "chunks");
  await damage(path);
  await isDamaged(running, "large", large);
  expect(await read(running, "small")).toEqual(small);
});

test.each<[string, number]>([
  ["first", headerBytes],
  ["middle", headerBytes + small.length / 2],
  ["last", headerBytes + small.length - 1],
])("a small object whose %s byte was flipped is an error that names its chunk", async (_, at) => {
  await using running = await withObjects();
  const [path = ""] = await filesIn(running, "segments");
  await flip(path, at);
  await isDamaged(running, "small", small);
  expect(await read(running, "neighbour")).toEqual(neighbour);
});

test.each<[string, number]>([
  ["mark", 0],
  ["size", 6],
  ["hash", 20],
])("a segment with a flipped %s still gives the right bytes, and scrub finds it", async (_, at) => {
  await using running = await withObjects();
  const [path = ""] = await filesIn(running, "segments");
  await flip(path, at);
  expect(await read(running, "small")).toEqual(small);
  expect(await read(running, "neighbour")).toEqual(neighbour);
  expect((await scrub(running)).damaged.map((one) => one.chunk)).toEqual([
    hashOf(small).toString("hex"),
  ]);
});

test("a segment whose end was cut off is an error that names what lay there", async () => {
  await using running = await withObjects();
  const [path = ""] = await filesIn(running, "segments");
  await truncate(path, headerBytes + small.length + headerBytes + neighbour.length - 1);
  await isDamaged(running, "neighbour", neighbour);
  expect(await read(running, "small")).toEqual(small);
});

test.each([
  ["size", 2],
  ["checksum", 6],
  ["generation", 14],
  ["name of a field", 20],
  ["value", 60],
])("no metadata are made of a journal with a flipped %s", async (_, at) => {
  const running = await withObjects();
  const { store, config } = running;
  await store[Symbol.asyncDispose]();
  try {
    const [path = ""] = await filesIn(running, "journal");
    await flip(path, at);
    const elsewhere = { ...config, namespace: `${config.namespace}-again` };
    const fault = await rebuildStore(elsewhere, silentLog).then(() => undefined, Fault.from);
    expect(fault?.code).toBe("object_corrupted");
    expect(fault?.message).toContain(path.split("/").at(-1) ?? "nothing");
  } finally {
    await running[Symbol.asyncDispose]();
  }
});
