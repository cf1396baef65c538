/** A whole Store whose bytes lie on an S3 service: one that is not ours, and another Store of ours. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { Fault } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";
import { until } from "../../../../../tests/programs.ts";
import { startForeignS3, startOwnS3, type S3Service } from "../../../../../tests/s3rver.ts";
import { startTestStore, type TestStore } from "../../../../../tests/store.ts";
import { fsckStore, rebuildStore, scrubStore } from "../../lifecycle/maintenance.ts";
import { start, type RunningStore } from "../../store.ts";

// A process of another runtime starts here.
setDefaultTimeout(60_000);

const never = new AbortController().signal;
const bucket = "store-bytes";
const clock = {
  shiftMs: 0,
  nowMs: () => Date.now() + clock.shiftMs,
  wait: (ms: number) => Bun.sleep(ms),
};

function put(store: RunningStore, key: string, bytes: Buffer) {
  const body = async function* () {
    yield bytes;
  };
  return store.objects.put({ bucket: "bucket", key }, body(), never);
}

async function read(store: RunningStore, key: string): Promise<Buffer | string> {
  const pieces: Buffer[] = [];
  try {
    const { body } = await store.objects.open({ bucket: "bucket", key }, never);
    for await (const piece of body) pieces.push(Buffer.from(piece));
    return Buffer.concat(pieces);
  } catch (error) {
    return Fault.from(error).code;
  }
}

const large = Buffer.alloc((8 << 20) + 100_000, "large bytes ");
const small = (index: number) => Buffer.alloc(900, `small ${index} `);

describe.each([
  ["a foreign S3 service", startForeignS3],
  ["another Store of ours", startOwnS3],
] as const)("a store on %s", (_, startService) => {
  let service: S3Service;
  let running: TestStore;
  let client: Bun.S3Client;
  beforeAll(async () => {
    service = await startService(bucket);
    const { endpoint, accessKeyId, secretAccessKey } = service;
    client = new Bun.S3Client({ endpoint, bucket, accessKeyId, secretAccessKey });
    running = await startTestStore(
      {
        blobBackend: "s3",
        s3Endpoint: endpoint,
        s3Bucket: bucket,
        s3Prefix: "spear",
        s3AccessKeyId: accessKeyId,
        s3SecretAccessKey: secretAccessKey,
        graceMs: 0,
        collectMs: 3_600_000,
      },
      { clock },
    );
    await running.store.buckets.create("bucket", false);
  });
  afterAll(async () => {
    await running[Symbol.asyncDispose]();
    await service[Symbol.asyncDispose]();
  });

  const keysBelow = async (prefix: string) =>
    ((await client.list({ prefix: `spear/${prefix}` })).contents ?? []).map(({ key }) => key);

  test("objects go there and come back, after a restart and without Redis too", async () => {
    const { store, config } = running;
    await put(store, "large", large);
    await Promise.all(
      Array.from({ length: 40 }, (__, index) => put(store, `s${index}`, small(index))),
    );
    expect((await keysBelow("chunks/")).length).toBe(2);
    expect((await keysBelow("segments/")).length).toBeLessThan(40);
    expect(await readdir(config.dataDir)).not.toContain("chunks");
    expect(await read(store, "large")).toEqual(large);
    expect(await read(store, "s7")).toEqual(small(7));
    await store[Symbol.asyncDispose]();
    expect(await fsckStore(config, false, silentLog)).toMatchObject({ blobs: 2, findings: [] });
    const elsewhere = { ...config, namespace: `${config.namespace}-b` };
    await rebuildStore(elsewhere, silentLog);
    Object.assign(running, {
      config: elsewhere,
      store: await start(elsewhere, { log: silentLog, clock }),
    });
    expect(await read(running.store, "large")).toEqual(large);
    expect(await read(running.store, "s39")).toEqual(small(39));
  });

  test("short segments are put together, and what is deleted goes", async () => {
    const { store } = running;
    for (let index = 100; index < 120; index++) await put(store, `s${index}`, small(index));
    const before = await keysBelow("segments/");
    expect(before.length).toBeGreaterThan(20);
    await store.objects.delete({ bucket: "bucket", key: "large" });
    expect(await store.collector.run(never)).toBe(1);
    await until("the short segments to go", async () => {
      await store.compactor.run(never);
      clock.shiftMs += 60_000;
      return (await keysBelow("segments/")).length < before.length / 2;
    });
    expect(await keysBelow("chunks/")).toEqual([]);
    expect(await read(store, "s3")).toEqual(small(3));
    expect(await read(store, "s117")).toEqual(small(117));
  });

  test("what is damaged or lost there is an error, and found", async () => {
    const { store, config } = running;
    for (const key of ["a", "b"]) await put(store, key, Buffer.alloc(200_000, key));
    const [first = "", second = ""] = await keysBelow("chunks/");
    const bytes = Buffer.from(await client.file(first).bytes());
    bytes.writeUInt8(7, 1_000);
    await client.write(first, bytes);
    await client.delete(second);
    for (const key of ["a", "b"]) expect(await read(store, key)).toBe("object_corrupted");
    expect((await scrubStore(config, Infinity, never, silentLog)).damaged.length).toBe(2);
    await store[Symbol.asyncDispose]();
    const { findings } = await fsckStore(config, false, silentLog);
    expect(findings.map(({ kind }) => kind)).toEqual(["chunk_missing"]);
  });
});
