/** Multi-part uploads over a real Redis and disk. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";
import { problemOf, startTestStore, type TestStore } from "../../../../tests/store.ts";
import { fsckStore } from "../lifecycle/maintenance.ts";
import type { Part, Upload } from "./schema.ts";
import type { Uploads } from "./uploads.ts";

let nowMs = Date.now();
const clock: Clock = { nowMs: () => nowMs, wait: () => Promise.resolve() };
const never = new AbortController().signal;
const name = { bucket: "bucket", key: "whole" };

let running: TestStore;
let uploads: Uploads;
beforeAll(async () => {
  running = await startTestStore(
    { graceMs: 0, collectMs: 3_600_000, uploadExpireMs: 60_000 },
    { clock },
  );
  ({ uploads } = running.store);
  await running.store.buckets.create("bucket", false);
});
afterAll(async () => {
  await running.store[Symbol.asyncDispose]();
  expect((await fsckStore(running.config, false, silentLog)).findings).toEqual([]);
  await running[Symbol.asyncDispose]();
});

const bytesOf = (number: number, size = 100_000) =>
  Buffer.alloc(size, createHash("sha256").update(`${number}`).digest());

async function putPart(id: string, number: number, bytes = bytesOf(number)): Promise<Part> {
  const body = async function* () {
    yield bytes;
  };
  return uploads.putPart(id, number, {}, body(), never);
}

async function read(key: string): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const { body } = await running.store.objects.open({ bucket: "bucket", key }, never);
  for await (const piece of body) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "ok",
    (error: unknown) => Fault.from(error).code,
  );

/** Blobs that are there once what is due was collected. */
async function blobs(): Promise<number> {
  await running.store.collector.run(never);
  const files = await readdir(join(running.config.dataDir, "chunks"), { recursive: true });
  return files.filter((file) => file.includes("/")).length;
}

test("parts that come at the same time and out of order become one object", async () => {
  const upload = await uploads.create(name, { contentType: "text/plain", metadata: { a: "b" } });
  expect(await uploads.list("bucket")).toEqual([upload]);
  const parts = await Promise.all([7, 2, 9, 3].map((number) => putPart(upload.id, number)));
  const replaced = await putPart(upload.id, 3, bytesOf(33, 10));
  const listed = await uploads.listParts(upload.id, 2, 2);
  expect(listed.parts.map(({ number }) => number)).toEqual([3, 7]);
  expect(listed.next).toBe(7);
  const object = await uploads.complete(upload.id, {
    parts: [parts[1], replaced, parts[0], parts[2]] as Part[],
  });
  expect(object).toMatchObject({
    ...name,
    sizeBytes: 300_010,
    sha256: "",
    contentType: "text/plain",
    metadata: { a: "b" },
  });
  expect(object.etag).toMatch(/^[0-9a-f]{32}-4$/);
  const expected = Buffer.concat([bytesOf(2), bytesOf(33, 10), bytesOf(7), bytesOf(9)]);
  expect(await read("whole")).toEqual(expected);
  expect(await codeOf(uploads.get(upload.id))).toBe("upload_not_found");
  expect(await uploads.list("bucket")).toEqual([]);
  await running.store.collector.run(never);
  expect(await read("whole")).toEqual(expected);
});

test("only one of those who complete an upload at the same time does", async () => {
  const upload = await uploads.create(name, {});
  const part = await putPart(upload.id, 1);
  const outcomes = await Promise.all(
    [1, 2, 3].map(() => codeOf(uploads.complete(upload.id, { parts: [part] }))),
  );
  expect(outcomes.toSorted()).toEqual(["ok", "upload_not_found", "upload_not_found"]);
});

test("what is wrong with a completion is said, and the upload goes on", async () => {
  const upload = await uploads.create({ bucket: "bucket", key: "careful" }, {});
  const [one, two] = [await putPart(upload.id, 1), await putPart(upload.id, 2)];
  const complete = (parts: { number: number; etag: string }[], condition = {}) =>
    codeOf(uploads.complete(upload.id, { parts, condition }));
  expect(await complete([two, one])).toBe("invalid_argument");
  expect(await complete([])).toBe("invalid_argument");
  expect(await complete([{ number: 1, etag: "other" }])).toBe("invalid_argument");
  expect(await complete([one, { number: 5, etag: one.etag }])).toBe("invalid_argument");
  expect(await complete([one], { ifMatch: "x" })).toBe("precondition_failed");
  expect(await complete([one, two], { ifAbsent: true })).toBe("ok");
});

test("an upload that is ended, or too old, leaves nothing", async () => {
  const before = await blobs();
  for (const end of ["abort", "age"]) {
    const upload = await uploads.create({ bucket: "bucket", key: end }, {});
    await putPart(upload.id, 1, bytesOf(99));
    expect(await blobs()).toBe(before + 1);
    if (end === "abort") await uploads.abort(upload.id);
    else {
      await uploads.sweep();
      expect((await uploads.get(upload.id)).key).toBe("age");
      nowMs += 120_000;
      await uploads.sweep();
    }
    expect(await codeOf(uploads.get(upload.id))).toBe("upload_not_found");
    expect(await blobs()).toBe(before);
  }
});

test("bad input is refused by name, and the store's own buckets are nobody's", async () => {
  const upload = await uploads.create(name, {});
  expect(await codeOf(putPart(upload.id, 0))).toBe("invalid_argument");
  expect(await codeOf(putPart(upload.id, 10_001))).toBe("invalid_argument");
  expect(await codeOf(putPart("01JD3T1V7Z8Q4N5M6P7R8S9T0A", 1))).toBe("upload_not_found");
  expect(await codeOf(putPart("../x", 1))).toBe("upload_not_found");
  expect(await codeOf(uploads.create({ bucket: "absent", key: "k" }, {}))).toBe("bucket_not_found");
  expect(await codeOf(uploads.create({ bucket: "bucket", key: ".." }, {}))).toBe(
    "invalid_argument",
  );
  expect(await codeOf(running.store.objects.list({ bucket: ".parts" }))).toBe("invalid_argument");
  expect((await running.store.buckets.list()).map((one) => one.name)).toEqual(["bucket"]);
  await uploads.abort(upload.id);
});

test("the same over REST", async () => {
  const call = (method: string, path: string, body?: object) =>
    fetch(`${running.url}${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
  const begun = await call("POST", "/v1/buckets/bucket/uploads", { key: "rest" });
  const { id } = (await begun.json()) as Upload;
  const put = (number: number, sha256?: string) =>
    fetch(`${running.url}/v1/uploads/${id}/parts/${number}`, {
      method: "PUT",
      body: bytesOf(number),
      ...(sha256 === undefined ? {} : { headers: { "x-spear-sha256": sha256 } }),
    });
  const parts = await Promise.all([1, 2].map(async (n) => (await (await put(n)).json()) as Part));
  expect((await problemOf(await put(3, "0".repeat(64)))).code).toBe("checksum_mismatch");
  expect((await problemOf(await put(0))).field).toContain("number");
  const list = await call("GET", `/v1/uploads/${id}/parts?pageSize=1`);
  expect(await list.json()).toEqual({ parts: [parts[0]], nextPageToken: "1" });
  expect(await (await call("GET", `/v1/uploads/${id}`)).json()).toMatchObject({ id, key: "rest" });
  expect(await (await call("GET", "/v1/buckets/bucket/uploads")).json()).toMatchObject({
    uploads: [{ id }],
  });
  const done = await call("POST", `/v1/uploads/${id}/complete`, {
    parts: parts.map(({ number, etag }) => ({ number, etag })),
  });
  expect(await done.json()).toMatchObject({ key: "rest", sizeBytes: 200_000 });
  expect((await problemOf(await call("DELETE", `/v1/uploads/${id}`))).code).toBe(
    "upload_not_found",
  );
});
