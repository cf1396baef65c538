/** The Object Store over REST. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";
import { operational } from "./operational.ts";
import { accessKeysRest } from "./access-keys.ts";
import { uploadsRest } from "./uploads.ts";

let buckets = 0;

/** A fresh bucket with one object, a/b.txt. */
async function bucketWith(world: World, text: string): Promise<{ bucket: string; object: Json }> {
  const bucket = `rest-${++buckets}`;
  await world.ok("store", "PUT /v1/buckets/{bucket}", { path: { bucket } });
  const object = await world.ok("store", "PUT /v1/buckets/{bucket}/objects/{key}", {
    path: { bucket, key: "a/b.txt" },
    body: text,
    headers: { "content-type": "text/plain", "x-spear-meta-lang": "en" },
  });
  return { bucket, object };
}

export const storeRest: Cases = {
  ...operational("store"),
  ...uploadsRest,
  ...accessKeysRest,
  "PUT /v1/buckets/{bucket}": async ({ world }) => {
    const path = { bucket: "made-once" };
    const made = await world.ok("store", "PUT /v1/buckets/{bucket}", { path });
    expect(made).toMatchObject({ name: "made-once" });
    const call = { path, query: { ifAbsent: "true" } };
    expect(await world.ok("store", "PUT /v1/buckets/{bucket}", call)).toEqual(made);
    expect(await world.problem("store", "PUT /v1/buckets/{bucket}", { path })).toMatchObject({
      code: "bucket_exists",
    });
  },
  "GET /v1/buckets": async ({ world }) => {
    const { bucket } = await bucketWith(world, "x");
    const { buckets: all } = await world.ok("store", "GET /v1/buckets");
    expect((all as Json[]).map(({ name }) => name)).toContain(bucket);
  },
  "GET /v1/buckets/{bucket}": async ({ world }) => {
    const { bucket } = await bucketWith(world, "x");
    const path = { bucket };
    expect(await world.ok("store", "GET /v1/buckets/{bucket}", { path })).toMatchObject({
      name: bucket,
    });
  },
  "DELETE /v1/buckets/{bucket}": async ({ world }) => {
    const { bucket } = await bucketWith(world, "x");
    const path = { bucket };
    expect(await world.problem("store", "DELETE /v1/buckets/{bucket}", { path })).toMatchObject({
      code: "bucket_not_empty",
    });
    const object = { path: { bucket, key: "a/b.txt" } };
    await world.ok("store", "DELETE /v1/buckets/{bucket}/objects/{key}", object);
    await world.ok("store", "DELETE /v1/buckets/{bucket}", { path }, 204);
    expect(await world.problem("store", "GET /v1/buckets/{bucket}", { path })).toMatchObject({
      code: "bucket_not_found",
    });
  },
  "GET /v1/buckets/{bucket}/usage": async ({ world }) => {
    const { bucket } = await bucketWith(world, "hello");
    const usage = await world.ok("store", "GET /v1/buckets/{bucket}/usage", { path: { bucket } });
    expect(usage).toEqual({ objects: 1, sizeBytes: 5 });
  },
  "PUT /v1/buckets/{bucket}/rules": async ({ world }) => {
    const { bucket } = await bucketWith(world, "hello");
    const body = { maxBytes: 8, expiry: [{ prefix: "tmp/", afterMs: 1_000 }] };
    const call = { path: { bucket }, body };
    expect(await world.ok("store", "PUT /v1/buckets/{bucket}/rules", call)).toEqual(body);
    const put = { path: { bucket, key: "b" }, body: "more" };
    expect(
      await world.problem("store", "PUT /v1/buckets/{bucket}/objects/{key}", put),
    ).toMatchObject({ code: "quota_exceeded", status: 507 });
    const wrong = { path: { bucket }, body: { expiry: [{ prefix: "a\0", afterMs: 1 }] } };
    expect(await world.problem("store", "PUT /v1/buckets/{bucket}/rules", wrong)).toMatchObject({
      code: "invalid_argument",
      field: "expiry.0.prefix",
    });
  },
  "GET /v1/buckets/{bucket}/rules": async ({ world }) => {
    const { bucket } = await bucketWith(world, "hello");
    const path = { bucket };
    expect(await world.ok("store", "GET /v1/buckets/{bucket}/rules", { path })).toEqual({});
    await world.ok("store", "PUT /v1/buckets/{bucket}/rules", { path, body: { maxObjects: 3 } });
    expect(await world.ok("store", "GET /v1/buckets/{bucket}/rules", { path })).toEqual({
      maxObjects: 3,
    });
  },
  "DELETE /v1/buckets/{bucket}/rules": async ({ world }) => {
    const { bucket } = await bucketWith(world, "hello");
    const path = { bucket };
    await world.ok("store", "PUT /v1/buckets/{bucket}/rules", { path, body: { maxObjects: 3 } });
    for (const _ of ["first", "again"]) {
      await world.ok("store", "DELETE /v1/buckets/{bucket}/rules", { path }, 204);
    }
    expect(await world.ok("store", "GET /v1/buckets/{bucket}/rules", { path })).toEqual({});
  },
  "PUT /v1/buckets/{bucket}/objects/{key}": async ({ world }) => {
    const { object } = await bucketWith(world, "hello");
    expect(object).toMatchObject({
      key: "a/b.txt",
      sizeBytes: 5,
      sha256: new Bun.CryptoHasher("sha256").update("hello").digest("hex"),
      contentType: "text/plain",
      metadata: { lang: "en" },
    });
  },
  "GET /v1/buckets/{bucket}/objects/{key}": async ({ world }) => {
    const { bucket, object } = await bucketWith(world, "hello");
    const operation = "GET /v1/buckets/{bucket}/objects/{key}";
    const path = { bucket, key: "a/b.txt" };
    const whole = await world.rest("store", operation, { path });
    expect({ text: whole.text, etag: whole.headers.get("etag") }).toEqual({
      text: "hello",
      etag: `"${object["etag"] as string}"`,
    });
    const part = await world.rest("store", operation, { path, headers: { range: "bytes=1-3" } });
    expect({ status: part.status, text: part.text }).toEqual({ status: 206, text: "ell" });
  },
  "HEAD /v1/buckets/{bucket}/objects/{key}": async ({ world }) => {
    const { bucket, object } = await bucketWith(world, "hello");
    const path = { bucket, key: "a/b.txt" };
    const answer = await world.rest("store", "HEAD /v1/buckets/{bucket}/objects/{key}", { path });
    expect(answer.headers.get("content-length")).toBe("5");
    expect(answer.headers.get("x-spear-object-id")).toBe(object["id"] as string);
  },
  "DELETE /v1/buckets/{bucket}/objects/{key}": async ({ world }) => {
    const { bucket } = await bucketWith(world, "hello");
    const operation = "DELETE /v1/buckets/{bucket}/objects/{key}";
    const path = { bucket, key: "a/b.txt" };
    expect(await world.ok("store", operation, { path })).toEqual({ deleted: true });
    expect(await world.ok("store", operation, { path })).toEqual({ deleted: false });
  },
  "GET /v1/buckets/{bucket}/objects": async ({ world }) => {
    const { bucket } = await bucketWith(world, "hello");
    const list = (query: Record<string, string>) =>
      world.ok("store", "GET /v1/buckets/{bucket}/objects", { path: { bucket }, query });
    expect(await list({ delimiter: "/" })).toMatchObject({ objects: [], prefixes: ["a/"] });
    const { objects } = await list({ prefix: "a/" });
    expect((objects as Json[]).map(({ key }) => key)).toEqual(["a/b.txt"]);
  },
  "GET /v1/objects/{id}": async ({ world }) => {
    const { object } = await bucketWith(world, "hello");
    const path = { id: object["id"] as string };
    expect((await world.rest("store", "GET /v1/objects/{id}", { path })).text).toBe("hello");
  },
  "HEAD /v1/objects/{id}": async ({ world }) => {
    const { object } = await bucketWith(world, "hello");
    const path = { id: object["id"] as string };
    const answer = await world.rest("store", "HEAD /v1/objects/{id}", { path });
    expect(answer.headers.get("x-spear-sha256")).toBe(object["sha256"] as string);
  },
  "GET /v1/objects/{id}/info": async ({ world }) => {
    const { object } = await bucketWith(world, "x");
    const path = { id: object["id"] as string };
    expect(await world.ok("store", "GET /v1/objects/{id}/info", { path })).toEqual({
      ...object,
      // It is a name that has one.
      generation: 0,
    });
  },
  "POST /v1/copies": async ({ world }) => {
    const { bucket, object } = await bucketWith(world, "hello");
    const body = { objectId: object["id"], bucket, key: "copy.txt" };
    expect(await world.ok("store", "POST /v1/copies", { body })).toMatchObject({
      id: object["id"],
      key: "copy.txt",
    });
  },
  "POST /v1/buckets/{bucket}/deletions": async ({ world }) => {
    const { bucket } = await bucketWith(world, "hello");
    const call = { path: { bucket }, body: { keys: ["a/b.txt", "nothing"] } };
    const { results } = await world.ok("store", "POST /v1/buckets/{bucket}/deletions", call);
    expect(results).toEqual([
      { key: "a/b.txt", deleted: true },
      { key: "nothing", deleted: false },
    ]);
  },
  "POST /v1/objects/{id}/refs": async ({ world }) => {
    const { bucket, object } = await bucketWith(world, "hello");
    const path = { bucket, key: "a/b.txt", id: object["id"] as string };
    const call = { path, body: { holder: "user/ann" } };
    const held = await world.ok("store", "POST /v1/objects/{id}/refs", call);
    expect(held).toMatchObject({ refs: ["user/ann"] });
    await world.ok("store", "DELETE /v1/buckets/{bucket}/objects/{key}", { path });
    expect((await world.rest("store", "GET /v1/objects/{id}", { path })).text).toBe("hello");
  },
  "DELETE /v1/objects/{id}/refs": async ({ world }) => {
    const { object } = await bucketWith(world, "hello");
    const path = { id: object["id"] as string };
    const holder = "user/ann";
    await world.ok("store", "POST /v1/objects/{id}/refs", { path, body: { holder } });
    const call = { path, query: { holder } };
    for (const _ of ["first", "again"]) {
      const freed = await world.ok("store", "DELETE /v1/objects/{id}/refs", call);
      expect(freed).toMatchObject({ refs: [] });
    }
  },
  "PUT /v1/objects/{id}/pin": async ({ world }) => {
    const { object } = await bucketWith(world, "hello");
    const path = { id: object["id"] as string };
    expect(await world.ok("store", "PUT /v1/objects/{id}/pin", { path })).toMatchObject({
      pinned: true,
    });
  },
  "DELETE /v1/objects/{id}/pin": async ({ world }) => {
    const { object } = await bucketWith(world, "hello");
    const path = { id: object["id"] as string };
    await world.ok("store", "PUT /v1/objects/{id}/pin", { path });
    for (const _ of ["first", "again"]) {
      const freed = await world.ok("store", "DELETE /v1/objects/{id}/pin", { path });
      expect(freed).toMatchObject({ pinned: false });
    }
  },
  "GET /v1/objects/{id}/why": async ({ world }) => {
    const { bucket, object } = await bucketWith(world, "hello");
    const path = { id: object["id"] as string };
    expect(await world.ok("store", "GET /v1/objects/{id}/why", { path })).toMatchObject({
      kept: true,
      names: [{ bucket, key: "a/b.txt" }],
    });
  },
};
