/** The Object Store over gRPC. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";

const bucket = "contract";

const store = (world: World, method: string, request: Json) =>
  world.unary("store", `ObjectStore/${method}`, request);

/** Puts an object, a character a message. */
async function put(world: World, key: string, text: string): Promise<Json> {
  await store(world, "CreateBucket", { name: bucket, ifAbsent: true });
  return world.upload("store", "ObjectStore/PutObject", [
    { header: { bucket, key } },
    ...text.split("").map((letter) => ({ data: Buffer.from(letter).toString("base64") })),
  ]);
}

export const storeGrpc: Cases = {
  "ObjectStore/CreateBucket": async ({ world }) => {
    const bucket = await store(world, "CreateBucket", { name: "created" });
    expect(bucket).toMatchObject({ name: "created" });
    expect(await store(world, "CreateBucket", { name: "created", ifAbsent: true })).toEqual(bucket);
  },
  "ObjectStore/DeleteBucket": async ({ world }) => {
    await store(world, "CreateBucket", { name: "short-lived" });
    await store(world, "DeleteBucket", { name: "short-lived" });
    const { buckets } = await store(world, "ListBuckets", {});
    expect((buckets as Json[]).map(({ name }) => name)).not.toContain("short-lived");
  },
  "ObjectStore/ListBuckets": async ({ world }) => {
    await put(world, "any", "1");
    const { buckets } = await store(world, "ListBuckets", {});
    expect((buckets as Json[]).map(({ name }) => name)).toContain("contract");
  },
  "ObjectStore/GetBucketUsage": async ({ world }) => {
    await store(world, "CreateBucket", { name: "usage" });
    await world.upload("store", "ObjectStore/PutObject", [
      { header: { bucket: "usage", key: "a" } },
      { data: Buffer.from("hello").toString("base64") },
    ]);
    expect(await store(world, "GetBucketUsage", { bucket: "usage" })).toEqual({
      objects: "1",
      sizeBytes: "5",
    });
  },
  "ObjectStore/SetBucketRules": async ({ world }) => {
    await store(world, "CreateBucket", { name: "ruled" });
    const rules = { maxBytes: "3", maxObjects: "9", expiry: [{ prefix: "a/", afterMs: "1000" }] };
    expect(await store(world, "SetBucketRules", { bucket: "ruled", rules })).toEqual(rules);
    const put = world.upload("store", "ObjectStore/PutObject", [
      { header: { bucket: "ruled", key: "a" } },
      { data: Buffer.from("hello").toString("base64") },
    ]);
    expect(await put.catch((error: unknown) => error)).toMatchObject({ code: "quota_exceeded" });
  },
  "ObjectStore/GetBucketRules": async ({ world }) => {
    await store(world, "CreateBucket", { name: "rules-read" });
    expect(await store(world, "GetBucketRules", { bucket: "rules-read" })).toEqual({});
    const rules = { maxObjects: "0" };
    await store(world, "SetBucketRules", { bucket: "rules-read", rules });
    expect(await store(world, "GetBucketRules", { bucket: "rules-read" })).toEqual(rules);
  },
  "ObjectStore/DeleteBucketRules": async ({ world }) => {
    const bucket = "rules-gone";
    await store(world, "CreateBucket", { name: bucket });
    await store(world, "SetBucketRules", { bucket, rules: { maxObjects: "0" } });
    for (const _ of ["first", "again"]) await store(world, "DeleteBucketRules", { bucket });
    expect(await store(world, "GetBucketRules", { bucket })).toEqual({});
  },
  "ObjectStore/PutObject": async ({ world }) => {
    expect(await put(world, "put", "hello")).toMatchObject({ bucket: "contract", sizeBytes: "5" });
  },
  "ObjectStore/GetObject": async ({ world }) => {
    const object = await put(world, "get", "hello");
    const request = { bucket: "contract", key: "get", offset: "1", length: "3" };
    let text = "";
    let described: unknown;
    for await (const message of world.stream("store", "ObjectStore/GetObject", request)) {
      if (message["object"] !== undefined) described = message["object"];
      else text += Buffer.from(message["data"] as string, "base64").toString();
    }
    expect(described).toMatchObject({ id: object["id"] });
    expect(text).toBe("ell");
  },
  "ObjectStore/HeadObject": async ({ world }) => {
    const object = await put(world, "head", "hello");
    expect(await store(world, "HeadObject", { bucket: "contract", key: "head" })).toEqual(object);
  },
  "ObjectStore/ListObjects": async ({ world }) => {
    await put(world, "list/a", "1");
    await put(world, "list/b/c", "1");
    const { objects, prefixes } = await store(world, "ListObjects", {
      bucket: "contract",
      prefix: "list/",
      delimiter: "/",
    });
    expect((objects as Json[]).map(({ key }) => key)).toEqual(["list/a"]);
    expect(prefixes).toEqual(["list/b/"]);
  },
  "ObjectStore/DeleteObject": async ({ world }) => {
    await put(world, "delete", "1");
    const request = { bucket: "contract", key: "delete" };
    expect(await store(world, "DeleteObject", request)).toEqual({ deleted: true });
    expect(await store(world, "DeleteObject", request)).toEqual({});
  },
  "ObjectStore/CopyObject": async ({ world }) => {
    const { id } = await put(world, "source", "1");
    const request = { objectId: id, bucket: "contract", key: "target" };
    expect(await store(world, "CopyObject", request)).toMatchObject({ id, key: "target" });
  },
  "ObjectStore/DeleteObjects": async ({ world }) => {
    await put(world, "many/a", "1");
    const request = { bucket, keys: ["many/a", "many/b"] };
    const { results } = await store(world, "DeleteObjects", request);
    expect(results).toEqual([{ key: "many/a", deleted: true }, { key: "many/b" }]);
  },
  "ObjectStore/AddObjectRef": async ({ world }) => {
    const { id: objectId } = await put(world, "ref", "1");
    const request = { objectId, holder: "user/ann" };
    expect(await store(world, "AddObjectRef", request)).toMatchObject({ refs: ["user/ann"] });
    await store(world, "DeleteObject", { bucket, key: "ref" });
    expect(await store(world, "HeadObject", { objectId })).toMatchObject({ id: objectId });
  },
  "ObjectStore/RemoveObjectRef": async ({ world }) => {
    const { id: objectId } = await put(world, "unref", "1");
    const request = { objectId, holder: "user/ann" };
    await store(world, "AddObjectRef", request);
    expect(await store(world, "RemoveObjectRef", request)).not.toHaveProperty("refs");
    await store(world, "RemoveObjectRef", request);
  },
  "ObjectStore/PinObject": async ({ world }) => {
    const { id: objectId } = await put(world, "pin", "1");
    expect(await store(world, "PinObject", { objectId })).toMatchObject({ pinned: true });
  },
  "ObjectStore/UnpinObject": async ({ world }) => {
    const { id: objectId } = await put(world, "unpin", "1");
    await store(world, "PinObject", { objectId });
    expect(await store(world, "UnpinObject", { objectId })).not.toHaveProperty("pinned");
    await store(world, "UnpinObject", { objectId });
  },
  "ObjectStore/ExplainObject": async ({ world }) => {
    const { id: objectId } = await put(world, "why", "1");
    expect(await store(world, "ExplainObject", { objectId })).toMatchObject({
      kept: true,
      names: [{ bucket, key: "why" }],
    });
  },
};
