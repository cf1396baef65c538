/** The S3 face through a real listener: who may do what, what is refused, and that it leaves nothing. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import type { Clock } from "@spear/shared/clock.ts";
import { until } from "../../../../tests/programs.ts";
import { codeOf, rawS3, s3Client, type Credentials } from "../../../../tests/s3/client.ts";
import { rawHttp, startTestStore, type TestStore } from "../../../../tests/store.ts";

let aheadMs = 0;
const clock: Clock = { nowMs: () => Date.now() + aheadMs, wait: () => Promise.resolve() };

let running: TestStore;
let root: Credentials;
let client: S3Client;
const Bucket = "bucket";

beforeAll(async () => {
  running = await startTestStore(
    { graceMs: 0, collectMs: 3_600_000, s3Domain: "s3.test", s3CorsOrigins: ["https://app.test"] },
    { clock },
  );
  root = await running.store.accessKeys.create({});
  client = s3Client(running.url, root);
  await client.send(new CreateBucketCommand({ Bucket }));
});
afterAll(() => running[Symbol.asyncDispose]());

const address = () => running.store.http;
const put = (Key: string, Body = Key) => client.send(new PutObjectCommand({ Bucket, Key, Body }));
const get = (Key: string) => client.send(new GetObjectCommand({ Bucket, Key }));
const textOf = async (Key: string) => (await get(Key)).Body?.transformToString();

async function blobs(): Promise<number> {
  const files = await readdir(join(running.config.dataDir, "chunks"), { recursive: true });
  return files.filter((file) => file.includes("/")).length;
}

test("nobody is served without a signature", async () => {
  await put("secret");
  for (const [method, path] of [
    ["GET", "/bucket/secret"],
    ["HEAD", "/bucket/secret"],
    ["PUT", "/bucket/mine"],
    ["DELETE", "/bucket/secret"],
    ["GET", "/bucket?list-type=2"],
    ["POST", "/bucket?delete"],
    ["PUT", "/other-bucket"],
  ] as const) {
    const response = await fetch(`${running.url}${path}`, {
      method,
      ...(method === "PUT" ? { body: "x" } : {}),
    });
    expect({ path, status: response.status }).toEqual({ path, status: 403 });
    if (method !== "HEAD") expect(await response.text()).toContain("<Code>AccessDenied</Code>");
  }
  expect(await textOf("secret")).toBe("secret");
});

test("a key that is unknown, wrong, over or removed opens nothing", async () => {
  const { accessKeys } = running.store;
  const list = (key: Credentials) =>
    codeOf(s3Client(running.url, key).send(new ListBucketsCommand({})));
  const removed = await accessKeys.create({});
  expect(await list(removed)).toBe("ok");
  expect(await list({ ...removed, secret: "guess" })).toBe("SignatureDoesNotMatch");
  await accessKeys.remove(removed.id);
  expect(await list(removed)).toBe("InvalidAccessKeyId");
  expect(await list({ id: "SPEAR", secret: "x" })).toBe("InvalidAccessKeyId");
  const short = await accessKeys.create({ ttlMs: 60_000 });
  expect(await list(short)).toBe("ok");
  aheadMs = 61_000;
  expect(await list(short)).toBe("InvalidAccessKeyId");
  aheadMs = 16 * 60_000;
  expect(await list(root)).toBe("RequestTimeTooSkewed");
  aheadMs = 0;
});

test("a key does what it was given for, in its bucket, below its prefix", async () => {
  await put("in/a");
  await put("out");
  await client.send(new CreateBucketCommand({ Bucket: "foreign" }));
  const scoped = s3Client(
    running.url,
    await running.store.accessKeys.create({
      grants: [
        { bucket: Bucket, prefix: "in/", actions: ["read", "list"] },
        { bucket: Bucket, prefix: "drop/", actions: ["write"] },
        { bucket: Bucket, prefix: "tidy/", actions: ["delete"] },
      ],
    }),
  );
  const outcomes = {
    "read inside": codeOf(scoped.send(new GetObjectCommand({ Bucket, Key: "in/a" }))),
    "read outside": codeOf(scoped.send(new GetObjectCommand({ Bucket, Key: "out" }))),
    "list inside": codeOf(scoped.send(new ListObjectsV2Command({ Bucket, Prefix: "in/" }))),
    "list all": codeOf(scoped.send(new ListObjectsV2Command({ Bucket }))),
    "write where it reads": codeOf(
      scoped.send(new PutObjectCommand({ Bucket, Key: "in/b", Body: "x" })),
    ),
    "write where it may": codeOf(
      scoped.send(new PutObjectCommand({ Bucket, Key: "drop/b", Body: "x" })),
    ),
    "read what it wrote": codeOf(scoped.send(new GetObjectCommand({ Bucket, Key: "drop/b" }))),
    "copy in": codeOf(
      scoped.send(new CopyObjectCommand({ Bucket, Key: "drop/c", CopySource: `${Bucket}/in/a` })),
    ),
    "copy from outside": codeOf(
      scoped.send(new CopyObjectCommand({ Bucket, Key: "drop/d", CopySource: `${Bucket}/out` })),
    ),
    "delete outside": codeOf(scoped.send(new DeleteObjectCommand({ Bucket, Key: "out" }))),
    "delete inside": codeOf(scoped.send(new DeleteObjectCommand({ Bucket, Key: "tidy/x" }))),
    "make a bucket": codeOf(scoped.send(new CreateBucketCommand({ Bucket: "another" }))),
    "remove the bucket": codeOf(scoped.send(new DeleteBucketCommand({ Bucket }))),
    "look at another": codeOf(scoped.send(new ListObjectsV2Command({ Bucket: "foreign" }))),
  };
  const settled = await Promise.all(
    Object.entries(outcomes).map(async ([what, outcome]) => [what, await outcome] as const),
  );
  expect(Object.fromEntries(settled)).toEqual({
    "read inside": "ok",
    "read outside": "AccessDenied",
    "list inside": "ok",
    "list all": "AccessDenied",
    "write where it reads": "AccessDenied",
    "write where it may": "ok",
    "read what it wrote": "AccessDenied",
    "copy in": "ok",
    "copy from outside": "AccessDenied",
    "delete outside": "AccessDenied",
    "delete inside": "ok",
    "make a bucket": "AccessDenied",
    "remove the bucket": "AccessDenied",
    "look at another": "AccessDenied",
  });
  const { Buckets } = await scoped.send(new ListBucketsCommand({}));
  expect(Buckets?.map(({ Name }) => Name)).toEqual([Bucket]);
  const deletion = await scoped.send(
    new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: "tidy/y" }, { Key: "out" }] } }),
  );
  expect(deletion.Deleted).toEqual([{ Key: "tidy/y" }]);
  expect(deletion.Errors).toMatchObject([{ Key: "out", Code: "AccessDenied" }]);
  expect(await textOf("out")).toBe("out");
  // The id of an upload is no way around: it holds for its key only.
  const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key: "out" }));
  const part = { Bucket, Key: "drop/e", UploadId, PartNumber: 1, Body: "x" };
  expect(await codeOf(scoped.send(new UploadPartCommand(part)))).toBe("NoSuchUpload");
});

test.each(
  [
    "a/../b",
    "a/%2e%2E/b",
    "a/./b",
    "%2e",
    "..%2fb",
    "a%00b",
    "a%ffb",
    "a%zzb",
    "a\\b",
    `${"x".repeat(31)}/`.repeat(32) + "x",
  ].map((path) => [path.slice(0, 20), path] as const),
)("the key %p is refused and maps to no other", async (_, path) => {
  const answer = await rawS3(address(), root, {
    method: "PUT",
    path: `/${Bucket}/${path}`,
    body: "x",
  });
  expect(answer).toMatch(/^HTTP\/1.1 400 /);
  expect(answer).toMatch(/<Code>(?:InvalidArgument|InvalidURI|KeyTooLongError)<\/Code>/);
});

test("odd keys are served as they are, under each spelling of their path", async () => {
  for (const key of [
    "/lead",
    "a//b",
    "tail/",
    "50%",
    "a+b c",
    "ü/€",
    "q?x=1#y",
    "back\\slash",
    "\u{fffd}",
    "...",
  ]) {
    await put(key);
    expect(await textOf(key)).toBe(key);
  }
  for (const path of ["a%2F%2Fb", "a/%2fb", "%61//%62"]) {
    expect(await rawS3(address(), root, { path: `/${Bucket}/${path}` })).toEndWith("\r\n\r\na//b");
  }
  const plus = await rawS3(address(), root, { path: `/${Bucket}/a+b%20c` });
  expect(plus).toEndWith("\r\n\r\na+b c");
});

test("bytes that are not what was said are refused and leave nothing", async () => {
  const before = await blobs();
  const body = "b".repeat(100_000);
  const digest = (name: string, text: string) => createHash(name).update(text).digest("base64");
  const put = (headers: Record<string, string>, more: object = {}) =>
    rawS3(address(), root, { method: "PUT", path: `/${Bucket}/no`, headers, body, ...more });
  const code = async (answer: Promise<string>) => /<Code>(\w+)</.exec(await answer)?.[1];
  expect(await code(put({ "content-md5": digest("md5", "other") }))).toBe("BadDigest");
  expect(await code(put({ "content-md5": "short" }))).toBe("InvalidDigest");
  expect(await code(put({ "x-amz-checksum-sha1": digest("sha1", "other") }))).toBe("BadDigest");
  expect(await code(put({ "x-amz-checksum-crc32c": "AAAAAA==" }))).toBe("BadDigest");
  expect(await code(put({ "x-amz-checksum-crc32": "AAAA" }))).toBe("InvalidRequest");
  expect(await code(put({}, { payload: "0".repeat(64) }))).toBe("XAmzContentSHA256Mismatch");
  expect(await code(put({}, { payload: "STREAMING-SOMEHOW" }))).toBe("NotImplemented");
  const chunked = {
    payload: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    body: `${(100_000).toString(16)}\r\n${body}\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n`,
  };
  const trailer = {
    "x-amz-trailer": "x-amz-checksum-crc32",
    "x-amz-decoded-content-length": "100000",
  };
  expect(await code(put(trailer, chunked))).toBe("BadDigest");
  expect(await code(put({ ...trailer, "x-amz-trailer": "x-amz-checksum-sha1" }, chunked))).toBe(
    "MalformedTrailerError",
  );
  expect(await code(put({ ...trailer, "x-amz-decoded-content-length": "99999" }, chunked))).toBe(
    "IncompleteBody",
  );
  expect(await code(put({ "x-amz-trailer": "x-amz-checksum-crc32" }, chunked))).toBe(
    "MissingContentLength",
  );
  expect(await code(put({ "if-match": '"other"' }))).toBe("PreconditionFailed");
  expect(await code(put({ "x-amz-server-side-encryption": "AES256" }))).toBe("NotImplemented");
  expect(await code(put({ "x-amz-acl": "public-read" }))).toBe("AccessControlListNotSupported");
  await put({ "content-length": "200000" }, { hangUp: true });
  await until("nothing is left", async () => (await blobs()) === before);
  expect(await codeOf(get("no"))).toBe("NoSuchKey");
});

test("who stalls in the middle is told, and leaves nothing", async () => {
  await using impatient = await startTestStore({ idleTimeoutMs: 200 });
  const key = await impatient.store.accessKeys.create({});
  await impatient.store.buckets.create(Bucket, false);
  const answer = await rawS3(impatient.store.http, key, {
    method: "PUT",
    path: `/${Bucket}/slow`,
    headers: { "content-length": "10" },
    body: "abc",
    payload: "UNSIGNED-PAYLOAD",
  });
  expect(answer).toContain("<Code>RequestTimeout</Code>");
  expect((await impatient.store.objects.list({ bucket: Bucket })).objects).toEqual([]);
});

test("what is pinned or referenced outlives its name, and goes when nobody holds it", async () => {
  const { lifecycle, collector, objects } = running.store;
  await put("held", "first");
  const { id } = await objects.head({ bucket: Bucket, key: "held" });
  await lifecycle.pin(id);
  await lifecycle.addRef(id, "task/1", 0);
  await put("held", "second");
  await client.send(new DeleteObjectCommand({ Bucket, Key: "held" }));
  expect(await codeOf(get("held"))).toBe("NoSuchKey");
  const byId = () => fetch(`${running.url}/v1/objects/${id}`);
  for (const letGo of [() => lifecycle.unpin(id), () => lifecycle.removeRef(id, "task/1")]) {
    await collector.run(new AbortController().signal);
    expect(await (await byId()).text()).toBe("first");
    await letGo();
  }
  await collector.run(new AbortController().signal);
  expect((await byId()).status).toBe(404);
});

test("an object that came by another way is shown with a tag that no client takes for an MD5", async () => {
  const url = `${running.url}/v1/buckets/${Bucket}/objects/rest`;
  await fetch(url, { method: "PUT", body: "rest", headers: { "cache-control": "no-store" } });
  const { ETag = "", CacheControl } = await client.send(
    new HeadObjectCommand({ Bucket, Key: "rest" }),
  );
  expect(ETag).toMatch(/^"[0-9a-f]{64}-1"$/);
  expect(CacheControl).toBe("no-store");
  const read = (IfMatch: string) =>
    codeOf(client.send(new GetObjectCommand({ Bucket, Key: "rest", IfMatch })));
  expect(await read(ETag)).toBe("ok");
  expect(await read(ETag.replace("-1", ""))).toBe("ok");
  expect(await read('"other"')).toBe("PreconditionFailed");
});

test("a bucket may stand in the host's name", async () => {
  await put("by/host");
  const headers = { host: `${Bucket}.s3.test:80` };
  expect(await rawS3(address(), root, { path: "/by/host", headers })).toEndWith("\r\n\r\nby/host");
  // Even where the path looks like REST's.
  await put("v1/buckets");
  expect(await rawS3(address(), root, { path: "/v1/buckets", headers })).toEndWith("v1/buckets");
  const anonymous = `GET /by/host HTTP/1.1\r\nHost: ${Bucket}.s3.test\r\nConnection: close\r\n\r\n`;
  expect(await rawHttp(address(), anonymous)).toContain("<Code>AccessDenied</Code>");
});

test("browsers may call from the origins that were named", async () => {
  const ask = (origin: string) =>
    fetch(`${running.url}/${Bucket}/x`, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "PUT" },
    });
  const allowed = await ask("https://app.test");
  expect(allowed.status).toBe(200);
  expect(allowed.headers.get("access-control-allow-origin")).toBe("https://app.test");
  expect((await ask("https://evil.test")).status).toBe(403);
  const answer = await rawS3(address(), root, {
    path: `/${Bucket}/absent`,
    headers: { origin: "https://app.test" },
  });
  expect(answer.toLowerCase()).toContain("access-control-allow-origin: https://app.test");
});

test("what is not offered is refused, and done in no other way", async () => {
  await put("kept");
  for (const query of ["retention=", "legal-hold", "restore", "torrent", "renameObject"]) {
    const answer = await rawS3(address(), root, {
      method: "PUT",
      path: `/${Bucket}/kept`,
      query,
      body: "overwritten",
    });
    expect(answer).toContain("<Code>NotImplemented</Code>");
  }
  expect(await textOf("kept")).toBe("kept");
  const head = new HeadBucketCommand({ Bucket: "absent" });
  expect(await codeOf(client.send(head))).toBe("NotFound");
  expect(await codeOf(client.send(new CreateBucketCommand({ Bucket })))).toBe(
    "BucketAlreadyOwnedByYou",
  );
  expect(await codeOf(client.send(new DeleteBucketCommand({ Bucket })))).toBe("BucketNotEmpty");
});

test("requests are counted by what they are, and by nothing that a client makes up", async () => {
  await put("counted");
  await fetch(`${running.url}/made-up-bucket/made-up-key`);
  const text = await (await fetch(`${running.url}/metrics`)).text();
  expect(text).toMatch(/method="PUT",route="s3 object",status="200"/);
  expect(text).toMatch(/method="GET",route="s3 refused",status="403"/);
  expect(text).not.toContain("made-up");
});
