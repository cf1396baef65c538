/** Access keys over REST. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";

/** Makes a key; what is shown of it later, and its secret. */
async function make(world: World, body: Json = {}): Promise<{ key: Json; secret: string }> {
  const { secret, ...key } = await world.ok("store", "POST /v1/access-keys", { body });
  return { key, secret: secret as string };
}

const listed = async (world: World) =>
  (await world.ok("store", "GET /v1/access-keys"))["accessKeys"];

export const accessKeysRest: Cases = {
  "POST /v1/access-keys": async ({ world }) => {
    const grants = [{ bucket: "photos", prefix: "2026/", actions: ["read", "list"] }];
    const { key, secret } = await make(world, { description: "camera", grants, ttlMs: 60_000 });
    expect(key).toMatchObject({ description: "camera", grants });
    expect(key["id"]).toMatch(/^SPEAR[A-Z2-7]{15}$/);
    expect(secret).toHaveLength(40);
    const body = { grants: [{ bucket: "photos", actions: ["destroy"] }] };
    expect(await world.problem("store", "POST /v1/access-keys", { body })).toMatchObject({
      code: "invalid_argument",
      field: "grants.0.actions.0",
    });
  },
  "GET /v1/access-keys": async ({ world }) => {
    const { key } = await make(world);
    expect(await listed(world)).toContainEqual(key);
  },
  "DELETE /v1/access-keys/{id}": async ({ world }) => {
    const { key } = await make(world);
    const call = { path: { id: key["id"] as string } };
    await world.ok("store", "DELETE /v1/access-keys/{id}", call, 204);
    expect(await listed(world)).not.toContainEqual(key);
    expect((await world.problem("store", "DELETE /v1/access-keys/{id}", call)).code).toBe(
      "not_found",
    );
  },
};
