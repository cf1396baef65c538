/** Backups that are taken while clients write and the collector runs, and what comes back of them. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import type { ObjectId } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { until } from "../../../../tests/programs.ts";
import { startRedis, type TestRedis } from "../../../../tests/redis.ts";
import { startForeignS3 } from "../../../../tests/s3rver.ts";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";
import type { StoreConfig } from "../config.ts";
import { fsckStore } from "../lifecycle/maintenance.ts";
import { start, type RunningStore } from "../store.ts";
import { backupStore, listCuts } from "./backup.ts";
import { restoreStore } from "./restore.ts";

// Servers start here.
setDefaultTimeout(60_000);

const never = new AbortController().signal;
const bucket = "bucket";
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-backup-test-"));
});
afterAll(() => rm(directory, { recursive: true }));

/** What belongs to a key: small, large, or of two chunks that others have too. */
function bytesOf(key: string): Buffer {
  const [kind, serial] = key.split("-");
  if (kind === "shared") return Buffer.alloc((8 << 20) + 70_000, "shared");
  return Buffer.alloc(kind === "large" ? 100_000 : 1_000, `${kind} ${serial} `);
}

function put(store: RunningStore, key: string) {
  const body = async function* () {
    yield bytesOf(key);
  };
  return store.objects.put({ bucket, key }, body(), never);
}

async function read(store: RunningStore, key: string): Promise<Buffer | string> {
  const pieces: Buffer[] = [];
  try {
    const { body } = await store.objects.open({ bucket, key }, never);
    for await (const piece of body) pieces.push(Buffer.from(piece));
    return Buffer.concat(pieces);
  } catch (error) {
    return Fault.from(error).code;
  }
}

async function keysOf(store: RunningStore): Promise<string[]> {
  const keys: string[] = [];
  let pageToken: string | undefined;
  do {
    const page = await store.objects.list({ bucket, pageToken });
    keys.push(...page.objects.map(({ key }) => key));
    pageToken = page.nextPageToken;
  } while (pageToken !== undefined);
  return keys;
}

/** Puts, deletes and overwrites until stopped. What is acknowledged as there, by key. */
function load(store: RunningStore, stop: AbortSignal) {
  const there = new Set<string>();
  const client = async (name: string) => {
    for (let serial = 0; !stop.aborted; serial++) {
      const key = `${serial % 5 === 4 ? "large" : "small"}-${name}${serial}`;
      await put(store, key);
      there.add(key);
      if (serial % 3 !== 2) continue;
      const gone = `small-${name}${serial - 2}`;
      there.delete(gone);
      await store.objects.delete({ bucket, key: gone });
    }
  };
  const done = Promise.all(["a", "b"].map(client));
  return { there, done };
}

async function withStore(
  redis: TestRedis,
  work: (running: TestStore) => Promise<void>,
  settings: Parameters<typeof startTestStore>[0] = {},
) {
  const running = await startTestStore({
    redisUrl: redis.url,
    graceMs: 0,
    collectMs: 20,
    segmentBytes: 256 << 10,
    journalBytes: 256 << 10,
    ...settings,
  });
  try {
    await work(running);
  } finally {
    await running[Symbol.asyncDispose]();
  }
}

test("what was acknowledged before a backup under load comes back whole, without Redis and disk", async () => {
  const place = join(directory, "under-load");
  const expected = new Set(["shared-1", "shared-2", "kept"]);
  let target: StoreConfig | undefined;
  let held: ObjectId | undefined;
  let cut = "";
  {
    await using lost = await startRedis();
    await withStore(lost, async ({ store, config }) => {
      await store.buckets.create(bucket, false);
      await store.buckets.setRules(bucket, { maxObjects: 1_000_000 });
      for (const key of expected) await put(store, key);
      held = (await put(store, "held")).id;
      await store.lifecycle.addRef(held, "user/ann", 0);
      await store.objects.delete({ bucket, key: "held" });
      const stop = new AbortController();
      const { there, done } = load(store, stop.signal);
      await until("the load to be at work", () => there.size > 60);
      for (const key of there) expected.add(key);
      const report = await backupStore(config, place, never, silentLog);
      expect(report.damaged).toEqual([]);
      stop.abort();
      await done;
      // What the load has deleted since may be in the cut or not.
      for (const key of expected) if (/-[ab]/.test(key) && !there.has(key)) expected.delete(key);
      const later = await backupStore(config, place, never, silentLog);
      expect(later.known).toBeGreaterThan(report.chunks / 3);
      const again = await backupStore(config, place, never, silentLog);
      expect(again).toMatchObject({ chunks: 0, bytes: 0 });
      expect(await listCuts(config, place)).toEqual([report.cut, later.cut, again.cut]);
      const busy = restoreStore(config, place, undefined, never, silentLog);
      expect(await busy.catch(Fault.from)).toMatchObject({ code: "conflict" });
      ({ cut } = report);
      target = config;
    });
  }
  await using redis = await startRedis();
  const config = { ...(target as StoreConfig), redisUrl: redis.url };
  const report = await restoreStore(config, place, cut, never, silentLog);
  expect(report.damaged).toEqual([]);
  expect((await fsckStore(config, false, silentLog)).findings).toEqual([]);
  {
    await using store = await start(config, { log: silentLog });
    const keys = new Set(await keysOf(store));
    for (const key of expected) expect({ key, there: keys.has(key) }).toEqual({ key, there: true });
    for (const key of keys) expect(await read(store, key)).toEqual(bytesOf(key));
    expect(await store.objects.head(held as ObjectId)).toMatchObject({ refs: ["user/ann"] });
    expect(await store.buckets.rules(bucket)).toEqual({ maxObjects: 1_000_000 });
    await put(store, "new");
    expect(await read(store, "new")).toEqual(bytesOf("new"));
  }
  const twice = restoreStore(config, place, undefined, never, silentLog);
  expect(await twice.catch(Fault.from)).toMatchObject({ code: "conflict" });
  await rm(config.dataDir, { recursive: true });
});

test("a backup goes to an S3 service and comes back from there", async () => {
  await using foreign = await startForeignS3("backups");
  await using redis = await startRedis();
  const s3 = {
    s3Endpoint: foreign.endpoint,
    s3AccessKeyId: foreign.accessKeyId,
    s3SecretAccessKey: foreign.secretAccessKey,
  };
  await withStore(
    redis,
    async ({ store, config }) => {
      await store.buckets.create(bucket, false);
      const keys = ["shared-1", "large-1", ...Array.from({ length: 30 }, (_, i) => `small-${i}`)];
      await Promise.all(keys.map((key) => put(store, key)));
      const first = await backupStore(config, "s3://backups/nightly", never, silentLog);
      expect(first).toMatchObject({ objects: 32, chunks: 33, damaged: [] });
      await put(store, "small-later");
      const second = await backupStore(config, "s3://backups/nightly", never, silentLog);
      expect(second).toMatchObject({ chunks: 1, known: 33 });
      const target = { ...config, dataDir: join(directory, "from-s3"), namespace: "from-s3" };
      const report = await restoreStore(
        target,
        "s3://backups/nightly",
        undefined,
        never,
        silentLog,
      );
      expect(report).toMatchObject({ cut: second.cut, objects: 33, damaged: [] });
      await using again = await start(target, { log: silentLog });
      for (const key of [...keys, "small-later"])
        expect(await read(again, key)).toEqual(bytesOf(key));
    },
    s3,
  );
});

test("damage is reported, on the way out and on the way back, and takes nothing else along", async () => {
  await using redis = await startRedis();
  const place = join(directory, "damage");
  await withStore(redis, async ({ store, config }) => {
    await store.buckets.create(bucket, false);
    for (const key of ["large-1", "large-2", "small-1"]) await put(store, key);
    const blobs = join(config.dataDir, "chunks");
    const blobIn = async (root: string) => {
      const found = await readdir(root, { recursive: true });
      return join(root, found.find((name) => name.length > 80) ?? "");
    };
    await rm(await blobIn(blobs));
    const report = await backupStore(config, place, never, silentLog);
    expect(report).toMatchObject({ objects: 3, chunks: 2 });
    expect(report.damaged.length).toBe(1);
    const stored = await blobIn(join(place, "chunks"));
    const bytes = await readFile(stored);
    bytes.writeUInt8(0, 99);
    await writeFile(stored, bytes);
    const target = { ...config, dataDir: join(directory, "damaged"), namespace: "damaged" };
    const back = await restoreStore(target, place, undefined, never, silentLog);
    expect(back.damaged.length).toBe(2);
    await using again = await start(target, { log: silentLog });
    expect(await read(again, "small-1")).toEqual(bytesOf("small-1"));
    expect(await read(again, "large-1")).toBe("object_corrupted");
    const cut = join(place, "cuts", (await readdir(join(place, "cuts")))[0] ?? "");
    await writeFile(cut, (await readFile(cut)).subarray(0, -3));
    const short = restoreStore(
      { ...target, namespace: "short", dataDir: join(directory, "short") },
      place,
      undefined,
      never,
      silentLog,
    );
    expect(await short.catch(Fault.from)).toMatchObject({
      code: "checksum_mismatch",
    });
  });
});

test("a backup of nothing, or to no place, says so", async () => {
  await using redis = await startRedis();
  await withStore(redis, async ({ config }) => {
    const codeOf = (work: Promise<unknown>) =>
      work.catch((error: unknown) => Fault.from(error).code);
    const elsewhere = { ...config, namespace: "none" };
    expect(await codeOf(backupStore(elsewhere, directory, never, silentLog))).toBe("not_found");
    const noData = { ...config, dataDir: join(directory, "no-data") };
    expect(await codeOf(backupStore(noData, directory, never, silentLog))).toBe("not_found");
    expect(await codeOf(backupStore(config, "ftp://x", never, silentLog))).toBe("invalid_argument");
    expect(await codeOf(backupStore(config, "s3://b/x", never, silentLog))).toBe(
      "invalid_argument",
    );
    const none = { ...config, namespace: "none", dataDir: join(directory, "none") };
    const empty = join(directory, "empty");
    expect(await codeOf(restoreStore(none, empty, undefined, never, silentLog))).toBe("not_found");
  });
});
