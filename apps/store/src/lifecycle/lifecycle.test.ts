/** References, pins and collection over a real Redis and disk, under a clock of the test's own (O3). */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { ObjectId } from "@spear/shared/ids.ts";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";

const graceMs = 60_000;
let nowMs = 1_000_000;
const clock: Clock = {
  nowMs: () => nowMs,
  // The collector runs when the test says so.
  wait: () => Promise.resolve(),
};
const never = new AbortController().signal;

let running: TestStore;
beforeAll(async () => {
  running = await startTestStore({ graceMs, collectMs: 3_600_000 }, { clock });
  await running.store.buckets.create("bucket", false);
});
afterAll(() => running[Symbol.asyncDispose]());

let serial = 0;
/** Stores an object whose bytes no other test has. */
function put(key: string, text = `${key} ${++serial}`) {
  const body = async function* () {
    yield Buffer.from(text);
  };
  return running.store.objects.put({ bucket: "bucket", key }, body(), never);
}

const remove = (key: string) => running.store.objects.delete({ bucket: "bucket", key });

/** Lets `ms` pass and collects what is due by then. */
async function later(ms: number): Promise<number> {
  nowMs += ms;
  return running.store.collector.run(never);
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "ok",
    (error: unknown) => Fault.from(error).code,
  );
const exists = async (id: ObjectId) => (await codeOf(running.store.objects.head(id))) === "ok";

async function read(id: ObjectId): Promise<string> {
  let text = "";
  const { body } = await running.store.objects.open(id, never);
  for await (const piece of body) text += piece.toString();
  return text;
}

async function blobs(): Promise<string[]> {
  const nested = await Promise.all(
    (await readdir(join(running.config.dataDir, "chunks"))).map((prefix) =>
      readdir(join(running.config.dataDir, "chunks", prefix)),
    ),
  );
  return nested.flat();
}

test("what lost its name stays readable for the grace period, then goes with its chunks", async () => {
  const before = await blobs();
  const { id } = await put("grace", "grace");
  await remove("grace");
  expect(await later(graceMs - 1)).toBe(0);
  expect(await read(id)).toBe("grace");
  expect(await running.store.lifecycle.why(id)).toEqual({
    objectId: id,
    kept: false,
    names: [],
    pinned: false,
    refs: [],
    unkeptSinceMs: nowMs - graceMs + 1,
    collectedAfterMs: nowMs + 1,
  });
  expect(await later(1)).toBe(1);
  expect(await exists(id)).toBe(false);
  expect(await codeOf(running.store.lifecycle.why(id))).toBe("object_not_found");
  expect(await blobs()).toEqual(before);
});

test("an overwritten object goes, its successor with the same bytes stays whole", async () => {
  const first = await put("same", "same bytes");
  const second = await put("same", "same bytes");
  expect(await later(graceMs)).toBe(1);
  expect(await exists(first.id)).toBe(false);
  expect(await read(second.id)).toBe("same bytes");
});

test("a pin keeps an object until it is taken away", async () => {
  const { id } = await put("pinned");
  const { lifecycle } = running.store;
  expect((await lifecycle.pin(id)).pinned).toBe(true);
  expect((await lifecycle.pin(id)).pinned).toBe(true);
  await remove("pinned");
  expect(await later(graceMs * 2)).toBe(0);
  expect(await lifecycle.why(id)).toMatchObject({ kept: true, names: [], pinned: true });
  expect((await lifecycle.unpin(id)).pinned).toBe(false);
  await lifecycle.unpin(id);
  expect(await later(graceMs)).toBe(1);
  expect(await exists(id)).toBe(false);
});

test("references keep an object, each for its holder; one with an end ends by itself", async () => {
  const { id } = await put("held");
  const { lifecycle } = running.store;
  await lifecycle.addRef(id, "job/1", 0);
  await lifecycle.addRef(id, "task/2/1", 5_000);
  expect((await lifecycle.addRef(id, "task/2/1", 10_000)).refs).toEqual(["job/1", "task/2/1"]);
  await remove("held");
  expect(await lifecycle.why(id)).toMatchObject({
    kept: true,
    refs: [{ holder: "job/1" }, { holder: "task/2/1", endsAtMs: nowMs + 10_000 }],
  });
  await later(9_999);
  expect((await running.store.objects.head(id)).refs).toEqual(["job/1", "task/2/1"]);
  await later(1);
  expect((await running.store.objects.head(id)).refs).toEqual(["job/1"]);
  expect(await later(graceMs * 2)).toBe(0);
  await lifecycle.removeRef(id, "nobody");
  await lifecycle.removeRef(id, "job/1");
  expect(await later(graceMs - 1)).toBe(0);
  await lifecycle.addRef(id, "saviour", 0);
  expect(await later(graceMs)).toBe(0);
  await lifecycle.removeRef(id, "saviour");
  expect(await later(graceMs)).toBe(1);
});

test("a copy by id brings a doomed object back", async () => {
  const { id } = await put("doomed");
  await remove("doomed");
  await running.store.objects.copy({ source: id, bucket: "bucket", key: "saved" });
  expect(await later(graceMs * 2)).toBe(0);
  expect(await exists(id)).toBe(true);
});

test("what is being read is not collected before it was read", async () => {
  const { id } = await put("reading", "read me");
  const { body } = await running.store.objects.open(id, never);
  expect((await body.next()).value?.toString()).toBe("read me");
  await remove("reading");
  expect(await later(graceMs * 2)).toBe(0);
  expect((await body.next()).done).toBe(true);
  expect(await later(0)).toBe(1);
});

test("bad input is refused by name", async () => {
  const { id } = await put("bad");
  const { lifecycle } = running.store;
  const missing = "obj_01JD3T1V7Z8Q4N5M6P7R8S9T0A" as ObjectId;
  for (const holder of ["", "two words", "ü", "x".repeat(257)]) {
    expect(await codeOf(lifecycle.addRef(id, holder, 0))).toBe("invalid_argument");
  }
  expect(await codeOf(lifecycle.addRef(id, "me", -1))).toBe("invalid_argument");
  for (const call of [lifecycle.addRef(missing, "me", 0), lifecycle.pin(missing)]) {
    expect(await codeOf(call)).toBe("object_not_found");
  }
});

test("the same over REST", async () => {
  const { id } = await put("rest");
  const call = async (method: string, path: string, body?: object) => {
    const response = await fetch(`${running.url}/v1/objects/${id}${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    return { status: response.status, body: await response.json() };
  };
  expect((await call("POST", "/refs", { holder: "user/ann" })).body).toMatchObject({
    refs: ["user/ann"],
  });
  expect((await call("PUT", "/pin")).body).toMatchObject({ pinned: true });
  expect((await call("GET", "/why")).body).toMatchObject({
    kept: true,
    pinned: true,
    names: [{ bucket: "bucket", key: "rest" }],
    refs: [{ holder: "user/ann" }],
  });
  expect((await call("DELETE", "/pin")).body).toMatchObject({ pinned: false });
  expect((await call("DELETE", "/refs?holder=user/ann")).body).toMatchObject({ refs: [] });
  expect((await call("POST", "/refs", { holder: "user/ann", more: 1 })).status).toBe(400);
});
