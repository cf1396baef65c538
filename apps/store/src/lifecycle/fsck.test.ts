/** The corruption suite: whatever is damaged is found, named, and never read as if it were whole (O2). */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Redis } from "ioredis";
import { Fault } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";
import { hashOf } from "../chunks/chunk.ts";
import { start } from "../store.ts";
import type { FindingKind } from "./fsck.ts";
import { fsckStore, scrubStore } from "./maintenance.ts";

const never = new AbortController().signal;
const large = Buffer.alloc(300_000, "large bytes ");
const small = Buffer.alloc(3_000, "small bytes ");

let running: TestStore;
let redis: Redis;
let tag: string;
beforeAll(() => {
  redis = new Redis(process.env["SPEAR_TEST_REDIS"] ?? "");
});
afterAll(() => redis.disconnect());

/** A stopped store with a large and a small object in it. */
beforeEach(async () => {
  running = await startTestStore({ collectMs: 3_600_000 });
  tag = `{${running.config.namespace}}`;
  await running.store.buckets.create("bucket", false);
  for (const [key, bytes] of [
    ["large", large],
    ["small", small],
  ] as const) {
    const body = async function* () {
      yield bytes;
    };
    await running.store.objects.put({ bucket: "bucket", key }, body(), never);
  }
  await running.store[Symbol.asyncDispose]();
});

const fsck = (mend = false) => fsckStore(running.config, mend, silentLog);
const kinds = async (mend = false): Promise<FindingKind[]> =>
  (await fsck(mend)).findings.map(({ kind }) => kind).toSorted();
const scrub = () => scrubStore(running.config, Number.POSITIVE_INFINITY, never, silentLog);

/** What reading a key gives: its bytes or the fault. */
async function read(key: string): Promise<Buffer | Fault> {
  await using store = await start(running.config, { log: silentLog });
  const pieces: Buffer[] = [];
  try {
    const { body } = await store.objects.open({ bucket: "bucket", key }, never);
    for await (const piece of body) pieces.push(Buffer.from(piece));
    return Buffer.concat(pieces);
  } catch (error) {
    return Fault.from(error);
  }
}

async function filesOf(...folders: string[]): Promise<string[]> {
  const entries = await readdir(join(running.config.dataDir, ...folders), {
    withFileTypes: true,
    recursive: true,
  });
  return entries.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
}

const key = (name: string) => `${tag}:store:${name}`;

test("a whole store has no findings", async () => {
  expect(await fsck()).toMatchObject({ objects: 2, chunks: 2, blobs: 1, findings: [] });
  expect(await scrub()).toEqual({ chunks: 2, bytes: large.length + small.length, damaged: [] });
  await running[Symbol.asyncDispose]();
});

test.each([
  ["first byte", (bytes: Buffer) => bytes.writeUInt8((bytes[0] ?? 0) ^ 1, 0)],
  ["last byte", (bytes: Buffer) => bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 128, bytes.length - 1)],
])("a chunk with its %s flipped is an error that names it", async (_, damage) => {
  const [file = ""] = await filesOf("chunks");
  const bytes = await readFile(file);
  damage(bytes);
  await writeFile(file, bytes);
  const fault = await read("large");
  expect(fault).toMatchObject({ code: "object_corrupted" });
  expect((fault as Fault).message).toContain(hashOf(large).toString("hex"));
  expect((await scrub()).damaged).toMatchObject([{ chunk: hashOf(large).toString("hex") }]);
  expect(await read("small")).toEqual(small);
  await running[Symbol.asyncDispose]();
});

test("a chunk that was cut short or is gone is an error that names it", async () => {
  const [file = ""] = await filesOf("chunks");
  await writeFile(file, large.subarray(0, 1_000));
  expect(await read("large")).toMatchObject({ code: "object_corrupted" });
  await rm(file);
  expect(await read("large")).toMatchObject({ code: "object_corrupted" });
  expect(await kinds()).toEqual(["chunk_missing"]);
  expect((await scrub()).damaged.length).toBe(1);
  await running[Symbol.asyncDispose]();
});

test("every byte of a segment that matters, flipped, is seen; the others change nothing", async () => {
  const [file = ""] = await filesOf("segments");
  const whole = await readFile(file);
  for (const at of [0, 5, 8, 39, 40, 41, whole.length - 1]) {
    const bytes = Buffer.from(whole);
    bytes.writeUInt8((bytes[at] ?? 0) ^ 4, at);
    await writeFile(file, bytes);
    const got = await read("small");
    if (at >= 40) {
      expect(got).toMatchObject({ code: "object_corrupted" });
      expect((await scrub()).damaged.length).toBe(1);
    } else expect(got).toEqual(small);
  }
  await running[Symbol.asyncDispose]();
});

test("a journal with a flipped byte is not replayed as if it were whole", async () => {
  const [file = ""] = (await filesOf("journal")).toSorted();
  const bytes = await readFile(file);
  bytes.writeUInt8((bytes[20] ?? 0) ^ 1, 20);
  await writeFile(file, bytes);
  // Redis has it all: the journal begins anew, and nothing is lost.
  expect(await read("large")).toEqual(large);
  expect(await read("small")).toEqual(small);
  expect(await kinds()).toEqual([]);
  await running[Symbol.asyncDispose]();
});

test("what can be mended without guessing is mended", async () => {
  const hash = hashOf(large);
  const entry = (await redis.hgetBuffer(key("chunks"), hash)) as Buffer;
  entry.writeUInt32BE(7, 0);
  await redis.hset(key("chunks"), hash, entry);
  await redis.hset(key("chunks"), Buffer.alloc(32, 1), entry);
  await redis.hincrby(key("segments"), "1", 99);
  await redis.zadd(key("doomed"), 5, Buffer.alloc(16, 2));
  const [member] = await redis.zrangeBuffer(key("names:bucket"), "0", "0");
  const dangling = Buffer.from(member as Buffer);
  dangling.fill(9, dangling.length - 20, dangling.length - 8);
  await redis.zadd(key("names:bucket"), 0, dangling);
  const name = `${"ab".repeat(32)}.${"cd".repeat(8)}`;
  await writeFile(join(running.config.dataDir, "chunks", "ab", name), "orphan");
  const expected: FindingKind[] = [
    "blob_orphan",
    "chunk_unused",
    "chunk_uses",
    "name_dangling",
    "object_doomed",
    "segment_weight",
  ];
  expect(await kinds()).toEqual(expected);
  expect(await kinds(true)).toEqual(expected);
  expect(await kinds()).toEqual([]);
  expect(await read("large")).toEqual(large);
  await running[Symbol.asyncDispose]();
});
