import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";
import { until } from "../../../../tests/programs.ts";
import { StoreClient } from "@spear/shared/store/client.ts";
import { NodeObjects } from "./objects.ts";
import { objectName, type RangeRequest } from "@spear/shared/store/schema.ts";
import { FakeStore } from "./testing.ts";

const MIB = 2 ** 20;
let store: FakeStore;
let root: string;
let dir: string;
const { signal } = new AbortController();

beforeAll(async () => {
  store = new FakeStore();
  root = await mkdtemp(join(tmpdir(), "spear-objects-"));
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await rm(root, { recursive: true });
});
beforeEach(async () => {
  dir = await mkdtemp(join(root, "cache-"));
  store.requests = [];
});
afterEach(() => {
  store.failures = 0;
  store.gate = Promise.resolve();
  store.alter = (bytes) => bytes;
  store.headers = {};
});

const open = (maxBytes = 64 * MIB) =>
  new NodeObjects({ store: new StoreClient(() => store.url), dir, maxBytes, log: silentLog });
const fetches = () => store.requests.filter((request) => request.startsWith("GET")).length;

async function read(objects: NodeObjects, name: string, range?: RangeRequest): Promise<Buffer> {
  const { body } = await objects.open(objectName(name), range, signal);
  return Buffer.concat(await Array.fromAsync(body));
}

/** Bytes in which no two blocks are alike. */
function noise(bytes: number): Buffer<ArrayBuffer> {
  const buffer = Buffer.alloc(bytes);
  for (let at = 0; at + 4 <= bytes; at += 4) buffer.writeUInt32LE((at * 2654435761) % 2 ** 32, at);
  return buffer;
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "none",
    (error: unknown) => Fault.from(error).code,
  );

describe("an object", () => {
  test("is read whole or in part, whatever its size, and fetched once", async () => {
    for (const size of [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5]) {
      const bytes = noise(size);
      store.put("in/object", bytes);
      const objects = open();
      store.requests = [];
      expect((await read(objects, "in/object")).equals(bytes)).toBe(true);
      expect((await read(objects, "in/object")).equals(bytes)).toBe(true);
      if (size < 2) continue;
      const part = await read(objects, "in/object", { offset: size - 2, length: 10 });
      expect(part.equals(bytes.subarray(size - 2))).toBe(true);
      expect(fetches()).toBe(1);
    }
  });

  test("is fetched once for all who ask at the same time, also if the first of them leaves", async () => {
    const bytes = noise(2 * MIB);
    store.put("in/object", bytes);
    const { promise, resolve } = Promise.withResolvers<void>();
    store.gate = promise;
    const objects = open();
    const leaving = new AbortController();
    const first = codeOf(
      objects
        .open(objectName("in/object"), undefined, leaving.signal)
        .then(({ body }) => Array.fromAsync(body)),
    );
    await until("the first to fetch", () => fetches() === 1);
    const others = [1, 2, 3].map(() => read(objects, "in/object"));
    leaving.abort(new Error("left"));
    expect(await first).toBe("internal");
    resolve();
    for (const one of await Promise.all(others)) expect(one.equals(bytes)).toBe(true);
    expect(fetches()).toBe(2);
  });

  test("is the newest of its name, and an older one by its id", async () => {
    const objects = open();
    const old = store.put("in/object", Buffer.from("old"));
    expect((await read(objects, "in/object")).toString()).toBe("old");
    store.put("in/object", Buffer.from("new"));
    expect((await read(objects, "in/object")).toString()).toBe("new");
    const { body } = await objects.open(old, undefined, signal);
    expect(Buffer.concat(await Array.fromAsync(body)).toString()).toBe("old");
  });

  test("that says that it is compressed comes as it was put", async () => {
    const bytes = Buffer.from(Bun.gzipSync("plain"));
    store.put("in/object", bytes);
    store.headers = { "content-encoding": "gzip" };
    expect((await read(open(), "in/object")).equals(bytes)).toBe(true);
  });

  test("that a store hands out damaged, or that is not there, is an error", async () => {
    store.put("in/object", noise(MIB));
    store.alter = (bytes) => Buffer.alloc(bytes.length);
    expect(await codeOf(read(open(), "in/object"))).toBe("unavailable");
    expect(await codeOf(read(open(), "in/none"))).toBe("object_not_found");
    expect(await readdir(dir)).toEqual([]);
  });

  test("of which a range is asked that lies outside is an error", async () => {
    store.put("in/object", noise(10));
    expect(await codeOf(read(open(), "in/object", { offset: 10 }))).toBe("range_not_satisfiable");
    expect(await codeOf(read(open(), "in/object", { offset: -1 }))).toBe("invalid_argument");
  });

  test("of which a range is asked is not fetched whole if it is large", async () => {
    const bytes = noise(9 * MIB);
    store.put("in/object", bytes);
    const part = await read(open(), "in/object", { offset: MIB, length: 7 });
    expect(part.equals(bytes.subarray(MIB, MIB + 7))).toBe(true);
    expect(await readdir(dir)).toEqual([]);
  });
});

describe("the cache", () => {
  test("is found again after a restart, with the names of what it has", async () => {
    store.put("in/small", noise(10));
    store.put("in/large", noise(1_000));
    const before = open();
    await read(before, "in/small");
    await read(before, "in/large");
    const after = open();
    await read(after, "in/small");
    expect(fetches()).toBe(2);
    expect(after.cachedNames(10)).toEqual(["in/large", "in/small"]);
    expect(after.cachedNames(1)).toEqual(["in/large"]);
  });

  test("never gives what was damaged on its disk, whichever byte it is", async () => {
    const bytes = noise(2 * MIB + 100);
    const id = store.put("in/object", bytes);
    await read(open(), "in/object");
    const path = join(dir, id);
    const { size } = await stat(path);
    const whole = await readFile(path);
    // In each block, in the hashes, in the metadata, in their proof, in its length.
    for (const at of [0, MIB + 7, 2 * MIB + 99, 2 * MIB + 101, size - 60, size - 20, size - 1]) {
      const damaged = Buffer.from(whole);
      damaged[at] = (damaged[at] as number) ^ 1;
      await writeFile(path, damaged);
      expect((await read(open(), "in/object")).equals(bytes)).toBe(true);
    }
    await writeFile(path, whole.subarray(0, MIB));
    expect((await read(open(), "in/object")).equals(bytes)).toBe(true);
  });

  test("is not spoiled by what a task does to its copy, and mends a copy of what is damaged", async () => {
    const bytes = noise(MIB + 3);
    const id = store.put("in/object", bytes);
    const objects = open();
    const copy = join(root, "copy");
    await objects.copyTo(objectName("in/object"), copy, signal);
    expect((await readFile(copy)).equals(bytes)).toBe(true);
    await writeFile(copy, "spoiled");
    expect((await read(objects, "in/object")).equals(bytes)).toBe(true);
    await rm(copy);
    const file = await readFile(join(dir, id));
    file[5] = (file[5] as number) ^ 1;
    await writeFile(join(dir, id), file);
    await objects.copyTo(objectName("in/object"), copy, signal);
    expect((await readFile(copy)).equals(bytes)).toBe(true);
    await rm(copy);
  });

  test("stays below its limit: the least recently used goes, never one in use, never too large a one", async () => {
    const objects = open(5 * MIB);
    for (const name of ["a", "b", "c", "d", "e"]) store.put(`in/${name}`, noise(MIB));
    store.put("in/huge", noise(2 * MIB));
    const held = await objects.open(objectName("in/a"), undefined, signal);
    // It holds its file from the first byte on.
    const first = await held.body.next();
    for (const name of ["b", "c", "d", "e", "huge"]) await read(objects, `in/${name}`);
    expect(objects.cachedNames(10).toSorted()).toEqual(["in/a", "in/c", "in/d", "in/e"]);
    expect(first.done).toBe(false);
    await held.body.return(undefined);
    const limited = open(2 * MIB);
    expect(limited.cachedNames(10).length).toBe(1);
  });
});
