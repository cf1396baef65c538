/** Objects over REST, through a real listener, Redis and disk (O1, O2). */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  cheapBytes,
  problemOf,
  rawHttp,
  startTestStore,
  type TestStore,
} from "../../../../tests/store.ts";
import { until } from "../../../../tests/programs.ts";
import type { StoredObject } from "./schema.ts";

let running: TestStore;
beforeAll(async () => {
  running = await startTestStore({ maxObjectBytes: 64 << 20 });
  await running.store.buckets.create("bucket", false);
});
afterAll(() => running[Symbol.asyncDispose]());

const at = (key: string) =>
  `${running.url}/v1/buckets/bucket/objects/${key.split("/").map(encodeURIComponent).join("/")}`;
const put = (key: string, body: string | Buffer, headers: Record<string, string> = {}) =>
  fetch(at(key), { method: "PUT", body, headers });
const objectOf = async (response: Promise<Response>) =>
  (await (await response).json()) as StoredObject;
const sha256 = (bytes: string | Buffer) => createHash("sha256").update(bytes).digest("hex");

async function chunkFiles({ config } = running): Promise<string[]> {
  const root = join(config.dataDir, "chunks");
  const nested = await Promise.all(
    (await readdir(root)).map(async (prefix) =>
      (await readdir(join(root, prefix))).map((name) => join(root, prefix, name)),
    ),
  );
  return nested.flat();
}

test("what was put is read back with its metadata, by name and by id", async () => {
  const object = await objectOf(
    put("a/b c.txt", "hello", { "content-type": "text/plain", "x-spear-meta-colour": "blue" }),
  );
  expect(object).toMatchObject({
    bucket: "bucket",
    key: "a/b c.txt",
    sizeBytes: 5,
    sha256: sha256("hello"),
    contentType: "text/plain",
    metadata: { colour: "blue" },
    pinned: false,
    refs: [],
  });
  for (const url of [at("a/b c.txt"), `${running.url}/v1/objects/${object.id}`]) {
    const response = await fetch(url);
    expect(await response.text()).toBe("hello");
    expect(response.headers.get("content-length")).toBe("5");
    expect(response.headers.get("etag")).toBe(`"${object.etag}"`);
    expect(response.headers.get("content-type")).toBe("text/plain");
    expect(response.headers.get("x-spear-meta-colour")).toBe("blue");
    expect(response.headers.get("x-spear-sha256")).toBe(sha256("hello"));
    const head = await fetch(url, { method: "HEAD" });
    expect(head.headers.get("content-length")).toBe("5");
    expect(head.headers.get("x-spear-object-id")).toBe(object.id);
  }
});

test("an empty object is an object", async () => {
  expect(await objectOf(put("empty", ""))).toMatchObject({ sizeBytes: 0, sha256: sha256("") });
  const response = await fetch(at("empty"));
  expect(response.headers.get("content-length")).toBe("0");
  expect(await response.text()).toBe("");
});

test("ranges cross chunk boundaries and say what they are", async () => {
  const pieces: Buffer[] = [];
  for await (const piece of cheapBytes((17 << 20) + 5)) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  expect((await objectOf(put("large", bytes))).sha256).toBe(sha256(bytes));
  const edge = 8 << 20;
  for (const [from, to] of [
    [0, 0],
    [edge - 2, edge + 2],
    [edge, 2 * edge],
    [edge - 1, bytes.length - 1],
  ] as const) {
    const response = await fetch(at("large"), { headers: { range: `bytes=${from}-${to}` } });
    expect(response.status).toBe(206);
    expect(response.headers.get("content-range")).toBe(`bytes ${from}-${to}/${bytes.length}`);
    expect(sha256(Buffer.from(await response.arrayBuffer()))).toBe(
      sha256(bytes.subarray(from, to + 1)),
    );
  }
  const beyond = await fetch(at("large"), { headers: { range: `bytes=${bytes.length}-` } });
  expect(beyond.headers.get("content-range")).toBe(`bytes */${bytes.length}`);
  expect((await problemOf(beyond)).code).toBe("range_not_satisfiable");
});

test("conditions of reads and writes hold", async () => {
  const first = await objectOf(put("cond", "one", { "if-none-match": "*" }));
  expect((await problemOf(await put("cond", "two", { "if-none-match": "*" }))).code).toBe(
    "precondition_failed",
  );
  expect((await problemOf(await put("cond", "two", { "if-match": '"no"' }))).code).toBe(
    "precondition_failed",
  );
  const second = await objectOf(put("cond", "two", { "if-match": `"${first.etag}"` }));
  expect(second.generation).toBeGreaterThan(first.generation);
  const stale = await put("cond", "three", { "x-spear-if-generation": String(first.generation) });
  expect((await problemOf(stale)).code).toBe("precondition_failed");
  expect(
    (await put("cond", "3", { "x-spear-if-generation": String(second.generation) })).status,
  ).toBe(200);
  const etag = `"${sha256("3")}"`;
  expect((await fetch(at("cond"), { headers: { "if-none-match": etag } })).status).toBe(304);
  expect((await fetch(at("cond"), { headers: { "if-match": '"x"' } })).status).toBe(412);
  const other = await fetch(at("cond"), { headers: { range: "bytes=0-0", "if-range": '"old"' } });
  expect(other.status).toBe(200);
  const gone = await fetch(at("cond"), { method: "DELETE", headers: { "if-match": '"x"' } });
  expect(gone.status).toBe(412);
});

test("a refused put leaves nothing: not visible, not on the disk", async () => {
  const before = await chunkFiles();
  const refused = async (response: Promise<Response>) => (await problemOf(await response)).code;
  expect(await refused(put("no", "bytes", { "x-spear-sha256": sha256("other") }))).toBe(
    "checksum_mismatch",
  );
  expect(await refused(put("no", "bytes", { "x-spear-sha256": "abc" }))).toBe("invalid_argument");
  expect(await refused(put("no", Buffer.alloc(100_000), { "if-match": '"x"' }))).toBe(
    "precondition_failed",
  );
  expect(await refused(put("no", Buffer.alloc(65 << 20)))).toBe("payload_too_large");
  const broken = fetch(`${running.url}/v1/buckets/bucket/deletions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: Buffer.from([...Buffer.from('{"keys":["'), 0xff, ...Buffer.from('"]}')]),
  });
  expect(await refused(broken)).toBe("invalid_argument");
  const absent = `${running.url}/v1/buckets/absent/objects/no`;
  expect(await refused(fetch(absent, { method: "PUT", body: "x" }))).toBe("bucket_not_found");
  expect(await refused(fetch(at("no")))).toBe("object_not_found");
  expect((await chunkFiles()).toSorted()).toEqual(before.toSorted());
});

test("a client that breaks off in the middle leaves nothing", async () => {
  const before = await chunkFiles();
  const head = "PUT /v1/buckets/bucket/objects/broken HTTP/1.1\r\nHost: store\r\n";
  await rawHttp(
    running.store.http,
    `${head}Content-Length: 20000000\r\n\r\n${"x".repeat(10 << 20)}`,
    true,
  );
  // Small enough to be read in one go.
  await rawHttp(running.store.http, `${head}Content-Length: 10\r\n\r\nabc`, true);
  await rawHttp(running.store.http, `${head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`, true);
  await until("the chunks are gone", async () => (await chunkFiles()).length === before.length);
  expect((await fetch(at("broken"))).status).toBe(404);
});

test("a client that stalls is cut off and leaves nothing", async () => {
  await using impatient = await startTestStore({ idleTimeoutMs: 200 });
  await impatient.store.buckets.create("bucket", false);
  const answer = await rawHttp(
    impatient.store.http,
    "PUT /v1/buckets/bucket/objects/slow HTTP/1.1\r\nHost: store\r\nContent-Length: 10\r\n\r\nabc",
  );
  expect(answer).toMatch(/^HTTP\/1.1 504 /);
  expect(answer).toContain('"code":"timeout"');
  expect((await impatient.store.objects.list({ bucket: "bucket" })).objects).toEqual([]);
});

test("a store without room refuses what it can't keep, small or large, and leaves nothing", async () => {
  await using full = await startTestStore({ reserveBytes: 2 ** 50 });
  for (const size of [1_000, 200_000]) {
    await full.store.buckets.create("bucket", true);
    const response = await fetch(`${full.url}/v1/buckets/bucket/objects/none`, {
      method: "PUT",
      body: Buffer.alloc(size),
    });
    expect(response.status).toBe(507);
    expect((await problemOf(response)).code).toBe("store_full");
  }
  expect((await full.store.objects.list({ bucket: "bucket" })).objects).toEqual([]);
  for (const folder of ["tmp", "segments"]) {
    expect(await readdir(join(full.config.dataDir, folder))).toEqual([]);
  }
  expect(await chunkFiles(full)).toEqual([]);
});

test.each(["a/../b", "a/%2e%2E/b", "a/./b", "%2e", "..%2fb", "a%00b", "a%ffb", "a%zzb", "a\\b"])(
  "the path %p is refused and maps to no other key",
  async (path) => {
    const answer = await rawHttp(
      running.store.http,
      `PUT /v1/buckets/bucket/objects/${path} HTTP/1.1\r\nHost: store\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx`,
    );
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain('"code":"invalid_argument"');
    expect(answer).toContain('"field":"key"');
  },
);

test("odd keys are served as they are", async () => {
  for (const key of [
    "/lead",
    "a//b",
    "tail/",
    "50%",
    "a+b c",
    "ü/€",
    "q?x=1#y",
    "back\\slash",
    "\ufffd",
    "...",
  ]) {
    expect((await objectOf(put(key, key))).key).toBe(key);
    expect(await (await fetch(at(key))).text()).toBe(key);
  }
});

test("a damaged chunk is an error that names it, never wrong bytes", async () => {
  const secret = Buffer.alloc(200_000, "damage me");
  await put("damaged", secret);
  const files = await chunkFiles();
  const contents = await Promise.all(files.map((file) => readFile(file)));
  const file = files[contents.findIndex((bytes) => bytes.equals(secret))] ?? "";
  secret[1234] = 0;
  await writeFile(file, secret);
  const problem = await problemOf(await fetch(at("damaged")));
  expect(problem.code).toBe("object_corrupted");
  expect(problem.detail).toContain(file.split("/").at(-1)?.slice(0, 64) ?? "nothing");
  // Asking for the head alone reads none of it.
  const head = await fetch(at("damaged"), { method: "HEAD" });
  expect(head.headers.get("content-length")).toBe(String(secret.length));
});

test("unknown members and bad values of a copy are named", async () => {
  const copy = async (body: object) => {
    const response = await fetch(`${running.url}/v1/copies`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return (await problemOf(response)).field;
  };
  expect(await copy({ bucket: "bucket", key: "x" })).toBe("objectId");
  expect(await copy({ objectId: "obj_1", bucket: "bucket", key: "x" })).toBe("objectId");
  expect(await copy({ objectId: "obj_1", bucket: "bucket", key: "x", more: 1 })).toBe("more");
});
