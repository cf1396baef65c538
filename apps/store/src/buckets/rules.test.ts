/** Rules of buckets: quotas hold whoever writes at the same time, expiry takes names and nothing else. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { rm } from "node:fs/promises";
import { Fault } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";
import type { ObjectId } from "@spear/shared/ids.ts";
import { until } from "../../../../tests/programs.ts";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";
import { fsckStore, rebuildStore } from "../lifecycle/maintenance.ts";
import { start, type RunningStore } from "../store.ts";

// A loaded machine takes its time.
setDefaultTimeout(60_000);

const never = new AbortController().signal;
let running: TestStore;
let store: RunningStore;
beforeAll(async () => {
  running = await startTestStore({ collectMs: 20, graceMs: 0 });
  ({ store } = running);
});
afterAll(() => running[Symbol.asyncDispose]());

let serial = 0;
async function bucketWith(rules: Parameters<RunningStore["buckets"]["setRules"]>[1]) {
  const bucket = `rules-${++serial}`;
  await store.buckets.create(bucket, false);
  await store.buckets.setRules(bucket, rules);
  return bucket;
}

function put(bucket: string, key: string, bytes: number) {
  const body = async function* () {
    yield Buffer.alloc(bytes, key);
  };
  return store.objects.put({ bucket, key }, body(), never);
}

const codeOf = (attempt: Promise<unknown>) =>
  attempt.then(
    () => "ok",
    (error: unknown) => Fault.from(error).code,
  );

test("a quota holds for puts, copies and uploads, whoever comes at once", async () => {
  const bucket = await bucketWith({ maxObjects: 5, maxBytes: 1_000 });
  const codes = await Promise.all(
    Array.from({ length: 20 }, (_, index) => codeOf(put(bucket, `k${index}`, 100))),
  );
  expect(codes.toSorted()).toEqual([
    ...Array.from({ length: 5 }, () => "ok"),
    ...Array.from({ length: 15 }, () => "quota_exceeded"),
  ]);
  expect(await store.buckets.usage(bucket)).toEqual({ objects: 5, sizeBytes: 500 });
  const { objects } = await store.objects.list({ bucket });
  const [first, second] = objects.map(({ key }) => key) as [string, string];
  expect(await codeOf(put(bucket, first, 600))).toBe("ok");
  expect(await codeOf(put(bucket, second, 101))).toBe("quota_exceeded");
  const source = { bucket, key: first };
  expect(await codeOf(store.objects.copy({ source, bucket, key: "new" }))).toBe("quota_exceeded");
  expect(await codeOf(store.objects.copy({ source, bucket, key: second }))).toBe("quota_exceeded");
  expect(await codeOf(store.objects.copy({ source, bucket, key: first }))).toBe("ok");
  const upload = await store.uploads.create({ bucket, key: second }, {});
  const part = await store.uploads.putPart(
    upload.id,
    1,
    {},
    (async function* () {
      yield Buffer.alloc(900);
    })(),
    never,
  );
  const complete = () => store.uploads.complete(upload.id, { parts: [part] });
  expect(await codeOf(complete())).toBe("quota_exceeded");
  await store.objects.delete(source);
  expect(await codeOf(complete())).toBe("quota_exceeded");
  await store.buckets.setRules(bucket, {});
  expect(await codeOf(complete())).toBe("ok");
  expect(await store.buckets.usage(bucket)).toEqual({ objects: 4, sizeBytes: 1_200 });
});

test("what is too large already may shrink", async () => {
  const bucket = await bucketWith({});
  await put(bucket, "a", 500);
  await store.buckets.setRules(bucket, { maxBytes: 100, maxObjects: 0 });
  expect(await codeOf(put(bucket, "a", 501))).toBe("quota_exceeded");
  expect(await codeOf(put(bucket, "a", 499))).toBe("ok");
  expect(await codeOf(store.objects.delete({ bucket, key: "a" }))).toBe("ok");
  expect(await codeOf(put(bucket, "a", 0))).toBe("quota_exceeded");
});

test("expiry takes names away, those below its prefix", async () => {
  const bucket = await bucketWith({ expiry: [{ prefix: "tmp/", afterMs: 1 }] });
  await put(bucket, "kept", 10);
  await Promise.all(Array.from({ length: 30 }, (_, index) => put(bucket, `tmp/${index}`, 10)));
  const keys = async () => (await store.objects.list({ bucket })).objects.map(({ key }) => key);
  await until("the names to expire", async () => (await keys()).length === 1);
  expect(await keys()).toEqual(["kept"]);
  expect(await store.buckets.usage(bucket)).toEqual({ objects: 1, sizeBytes: 10 });
});

test("a pinned object outlives its name's expiry", async () => {
  const bucket = await bucketWith({});
  const { id } = await put(bucket, "pinned", 10);
  await store.lifecycle.pin(id);
  await store.buckets.setRules(bucket, { expiry: [{ prefix: "", afterMs: 1 }] });
  await until("the name to expire", () =>
    store.objects.head({ bucket, key: "pinned" }).then(
      () => false,
      () => true,
    ),
  );
  const found: ObjectId = (await store.objects.head(id)).id;
  expect(found).toBe(id);
});

test("rules and usage survive Redis, from the journal and from a checkpoint", async () => {
  const other = await startTestStore({ collectMs: 20, journalBytes: 1 << 10 });
  const rules = { maxObjects: 200, expiry: [{ prefix: "x", afterMs: 3_600_000 }] };
  await other.store.buckets.create("bucket", false);
  await other.store.buckets.setRules("bucket", rules);
  const body = async function* () {
    yield Buffer.alloc(7);
  };
  for (let index = 0; index < 40; index++) {
    await other.store.objects.put({ bucket: "bucket", key: `k${index}` }, body(), never);
  }
  const { config } = other;
  await other.store[Symbol.asyncDispose]();
  const empty = { ...config, namespace: `${config.namespace}-b` };
  await rebuildStore(empty, silentLog);
  {
    await using again = await start(empty, { log: silentLog });
    expect(await again.buckets.rules("bucket")).toEqual(rules);
    expect(await again.buckets.usage("bucket")).toEqual({ objects: 40, sizeBytes: 280 });
    expect(await again.buckets.list()).toMatchObject([{ name: "bucket" }]);
  }
  expect((await fsckStore(empty, false, silentLog)).findings).toEqual([]);
  await rm(config.dataDir, { recursive: true, force: true });
});
