/** Multi-part uploads over REST. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";

const bucket = "uploads";
const partBytes = 5 << 20;

/** Begins an upload of `key`; its id. */
async function begin(world: World, key: string): Promise<string> {
  const query = { ifAbsent: "true" };
  await world.ok("store", "PUT /v1/buckets/{bucket}", { path: { bucket }, query });
  const call = { path: { bucket }, body: { key } };
  const upload = await world.ok("store", "POST /v1/buckets/{bucket}/uploads", call);
  expect(upload).toMatchObject({ bucket, key });
  return upload["id"] as string;
}

/** Stores a part; what the store says of it. */
function part(world: World, id: string, number: number, body: Uint8Array): Promise<Json> {
  const call = { path: { id, number: String(number) }, body };
  return world.ok("store", "PUT /v1/uploads/{id}/parts/{number}", call);
}

export const uploadsRest: Cases = {
  "POST /v1/buckets/{bucket}/uploads": async ({ world }) => {
    await begin(world, "begun");
    // Nothing is visible before it is complete.
    const path = { bucket, key: "begun" };
    const operation = "GET /v1/buckets/{bucket}/objects/{key}";
    expect((await world.problem("store", operation, { path })).code).toBe("object_not_found");
  },
  "GET /v1/buckets/{bucket}/uploads": async ({ world }) => {
    const id = await begin(world, "listed");
    const path = { bucket };
    const { uploads } = await world.ok("store", "GET /v1/buckets/{bucket}/uploads", { path });
    expect((uploads as Json[]).map((each) => each["id"])).toContain(id);
  },
  "GET /v1/uploads/{id}": async ({ world }) => {
    const id = await begin(world, "got");
    const found = await world.ok("store", "GET /v1/uploads/{id}", { path: { id } });
    expect(found).toMatchObject({ id, bucket, key: "got" });
  },
  "DELETE /v1/uploads/{id}": async ({ world }) => {
    const id = await begin(world, "aborted");
    await world.ok("store", "DELETE /v1/uploads/{id}", { path: { id } }, 204);
    expect((await world.problem("store", "GET /v1/uploads/{id}", { path: { id } })).status).toBe(
      404,
    );
  },
  "PUT /v1/uploads/{id}/parts/{number}": async ({ world }) => {
    const id = await begin(world, "put");
    const bytes = Buffer.from("hello");
    const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
    expect(await part(world, id, 7, bytes)).toMatchObject({ number: 7, sizeBytes: 5, sha256 });
  },
  "GET /v1/uploads/{id}/parts": async ({ world }) => {
    const id = await begin(world, "parts");
    await part(world, id, 2, Buffer.from("b"));
    await part(world, id, 1, Buffer.from("a"));
    const { parts } = await world.ok("store", "GET /v1/uploads/{id}/parts", { path: { id } });
    expect((parts as Json[]).map(({ number }) => number)).toEqual([1, 2]);
  },
  "POST /v1/uploads/{id}/complete": async ({ world }) => {
    const id = await begin(world, "whole");
    const last = await part(world, id, 2, Buffer.from("end"));
    const first = await part(world, id, 1, Buffer.alloc(partBytes, "x"));
    const parts = [first, last].map(({ number, etag }) => ({ number, etag }));
    const call = { path: { id }, body: { parts } };
    const object = await world.ok("store", "POST /v1/uploads/{id}/complete", call);
    expect(object).toMatchObject({ bucket, key: "whole", sizeBytes: partBytes + 3 });
    const tail = await world.rest("store", "GET /v1/buckets/{bucket}/objects/{key}", {
      path: { bucket, key: "whole" },
      headers: { range: "bytes=-5" },
    });
    expect(tail.text).toBe("xxend");
  },
};
