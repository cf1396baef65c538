/** The store over gRPC: the same truth as over REST. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { credentials } from "@grpc/grpc-js";
import {
  HeadObjectRequest,
  ObjectStoreClient,
  ObjectStoreService,
  type Object as WireObject,
  type PutObjectHeader,
} from "@spear/proto/gen/spear/store/v1/store.ts";
import { Fault } from "@spear/shared/fault.ts";
import { grpcFault, messages, unary } from "@spear/shared/grpc/client.ts";
import { cheapBytes, startTestStore, type TestStore } from "../../../../tests/store.ts";

let running: TestStore;
let client: ObjectStoreClient;
beforeAll(async () => {
  running = await startTestStore();
  client = new ObjectStoreClient(running.store.grpc, credentials.createInsecure());
  await unary(client, client.createBucket, { name: "bucket", ifAbsent: false });
});
afterAll(async () => {
  client.close();
  await running[Symbol.asyncDispose]();
});

const header = (key: string, more: Partial<PutObjectHeader> = {}): PutObjectHeader => ({
  bucket: "bucket",
  key,
  contentType: "",
  metadata: {},
  sha256: "",
  ...more,
});

async function put(head: PutObjectHeader | undefined, pieces: AsyncIterable<Buffer>) {
  const { promise, resolve, reject } = Promise.withResolvers<WireObject>();
  const call = client.putObject((error, object) =>
    error === null ? resolve(object) : reject(grpcFault(error)),
  );
  if (head !== undefined) call.write({ body: { $case: "header", value: head } });
  for await (const value of pieces) call.write({ body: { $case: "data", value } });
  call.end();
  return promise;
}

async function* text(value: string) {
  yield Buffer.from(value);
}

async function get(request: { key?: string; objectId?: string; offset?: number; length?: number }) {
  const pieces: Buffer[] = [];
  let object: WireObject | undefined;
  const call = client.getObject({ bucket: "bucket", key: "", objectId: "", offset: 0, ...request });
  for await (const { body } of messages(call)) {
    if (body?.$case === "object") object = body.value;
    if (body?.$case === "data") pieces.push(body.value);
  }
  return { object, bytes: Buffer.concat(pieces) };
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "ok",
    (error: unknown) => Fault.from(error).code,
  );

test("what is put over gRPC is read over gRPC and REST", async () => {
  const pieces: Buffer[] = [];
  for await (const piece of cheapBytes((9 << 20) + 1)) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  const object = await put(
    header("big", { metadata: { a: "b" }, sizeBytes: bytes.length }),
    cheapBytes(bytes.length),
  );
  expect(object).toMatchObject({ bucket: "bucket", key: "big", sizeBytes: bytes.length });
  const got = await get({ key: "big" });
  expect(got.object).toEqual(object);
  expect(got.bytes.equals(bytes)).toBe(true);
  expect((await get({ objectId: object.id, offset: 5, length: 7 })).bytes).toEqual(
    bytes.subarray(5, 12),
  );
  const rest = await fetch(`${running.url}/v1/buckets/bucket/objects/big`);
  expect(Buffer.from(await rest.arrayBuffer()).equals(bytes)).toBe(true);
  expect(
    await unary(client, client.headObject, { bucket: "bucket", key: "big", objectId: "" }),
  ).toEqual(object);
});

test("names are listed, copied and deleted", async () => {
  const source = await put(header("dir/one"), text("1"));
  const copy = await unary(client, client.copyObject, {
    objectId: source.id,
    sourceBucket: "",
    sourceKey: "",
    bucket: "bucket",
    key: "dir/two",
    condition: { ifMatch: "", ifAbsent: true },
    replaceAttributes: false,
    contentType: "",
    metadata: {},
  });
  expect(copy.id).toBe(source.id);
  const list = {
    bucket: "bucket",
    prefix: "dir/",
    delimiter: "",
    pageSize: 1,
    pageToken: "",
    startAfter: "",
  };
  const page = await unary(client, client.listObjects, list);
  expect(page.objects.map(({ key }) => key)).toEqual(["dir/one"]);
  const rest = await unary(client, client.listObjects, { ...list, pageToken: page.nextPageToken });
  expect(rest.objects.map(({ key }) => key)).toEqual(["dir/two"]);
  expect(rest.nextPageToken).toBe("");
  const name = { bucket: "bucket", key: "dir/two" };
  expect(await unary(client, client.deleteObject, name)).toEqual({ deleted: true });
  expect(await unary(client, client.deleteObject, name)).toEqual({ deleted: false });
});

test("buckets over gRPC", async () => {
  await unary(client, client.createBucket, { name: "short-lived", ifAbsent: false });
  expect(
    await codeOf(unary(client, client.createBucket, { name: "short-lived", ifAbsent: false })),
  ).toBe("bucket_exists");
  const { buckets } = await unary(client, client.listBuckets, {});
  expect(buckets.map(({ name }) => name)).toEqual(["bucket", "short-lived"]);
  await unary(client, client.deleteBucket, { name: "short-lived" });
  expect(await codeOf(unary(client, client.deleteBucket, { name: "short-lived" }))).toBe(
    "bucket_not_found",
  );
});

test("a key is what was sent: U+FFFD is served, and bytes that are no UTF-8 are not taken for it", async () => {
  await put(header("\ufffd"), text("odd"));
  const request = HeadObjectRequest.fromPartial({ bucket: "bucket", key: "\ufffd" });
  expect((await unary(client, client.headObject, request)).key).toBe("\ufffd");
  const bytes = Buffer.from(HeadObjectRequest.encode(request).finish());
  // As many bytes, none of which is the start of a letter.
  bytes.fill(0xbf, bytes.indexOf("\ufffd"), bytes.indexOf("\ufffd") + 3);
  const { path, responseDeserialize } = ObjectStoreService.headObject;
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  client.makeUnaryRequest(
    path,
    (raw: Buffer) => raw,
    responseDeserialize,
    bytes,
    (error) => resolve(error === null ? undefined : grpcFault(error).code),
  );
  expect(await promise).toBe("invalid_argument");
});

test("bad input is refused by its own error and stores nothing", async () => {
  expect(await codeOf(put(undefined, text("x")))).toBe("invalid_argument");
  for (const key of ["", ".", "a/../b", "a\0b", "x".repeat(1_025)]) {
    expect(await codeOf(put(header(key), text("x")))).toBe("invalid_argument");
  }
  expect(await codeOf(put(header("n", { bucket: "absent" }), text("x")))).toBe("bucket_not_found");
  expect(await codeOf(put(header("n", { sizeBytes: 3 }), text("xx")))).toBe("invalid_argument");
  expect(await codeOf(put(header("n", { sizeBytes: 1 }), text("xx")))).toBe("invalid_argument");
  expect(await codeOf(put(header("n", { sha256: "0".repeat(64) }), text("xx")))).toBe(
    "checksum_mismatch",
  );
  expect(await codeOf(get({ key: "n" }))).toBe("object_not_found");
  expect(await codeOf(get({ objectId: "obj_nope" }))).toBe("invalid_argument");
  await put(header("small"), text("abc"));
  expect(await codeOf(get({ key: "small", offset: 3 }))).toBe("range_not_satisfiable");
  expect(await codeOf(get({ key: "small", offset: -1 }))).toBe("invalid_argument");
});
