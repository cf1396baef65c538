/** Access keys over a real Redis: what they allow, how they are kept, when they end. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { Fault } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";
import { storeKeys } from "../objects/scripts.ts";
import { allows, mayKnow } from "./grants.ts";
import type { Grant } from "./schema.ts";
import { Vault } from "./vault.ts";

let running: TestStore;
beforeAll(async () => {
  running = await startTestStore();
});
afterAll(() => running[Symbol.asyncDispose]());

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "ok",
    (error: unknown) => Fault.from(error).code,
  );

test("a secret is shown once, and lies in Redis as nobody can read it", async () => {
  const { accessKeys } = running.store;
  const { secret, ...key } = await accessKeys.create({ description: "for tests" });
  expect(await accessKeys.list()).toEqual([key]);
  expect(await accessKeys.find(key.id)).toEqual({ ...key, secret });
  const redis = connectRedis(running.config.redisUrl, "commands", silentLog);
  try {
    const keys = storeKeys(new Keys(running.config.namespace));
    const stored = JSON.stringify(await redis.hgetall(keys.accessKeys));
    expect(stored).toContain(key.id);
    expect(stored).not.toContain(secret);
  } finally {
    redis.disconnect();
  }
  await accessKeys.remove(key.id);
  expect(await accessKeys.find(key.id)).toBeUndefined();
  expect(await codeOf(accessKeys.remove(key.id))).toBe("not_found");
});

test("a key is for buckets and prefixes that can be", async () => {
  const make = (bucket: string, prefix = "") =>
    codeOf(running.store.accessKeys.create({ grants: [{ bucket, prefix, actions: ["read"] }] }));
  expect(await make("*")).toBe("ok");
  expect(await make("a-bucket", "a/b")).toBe("ok");
  expect(await make("Not A Bucket")).toBe("invalid_argument");
  expect(await make("a-bucket", "a\0")).toBe("invalid_argument");
});

test("nothing is allowed that no grant names", () => {
  const grants: Grant[] = [
    { bucket: "one", prefix: "a/", actions: ["read", "list"] },
    { bucket: "two", actions: ["write"] },
  ];
  expect(allows(grants, "read", "one", "a/x")).toBe(true);
  expect(allows(grants, "read", "one", "a")).toBe(false);
  expect(allows(grants, "write", "one", "a/x")).toBe(false);
  expect(allows(grants, "list", "one", "")).toBe(false);
  expect(allows(grants, "write", "two", "")).toBe(true);
  expect(allows(grants, "read", "three", "a/x")).toBe(false);
  expect(["one", "two", "three"].filter((bucket) => mayKnow(grants, bucket))).toEqual([
    "one",
    "two",
  ]);
});

test("a vault opens again what it sealed, for its owner only", async () => {
  const directory = await mkdtemp(join(tmpdir(), "spear-vault-"));
  const path = join(directory, "access.key");
  try {
    const sealed = (await Vault.open(directory)).seal("me", "secret");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const again = await Vault.open(directory);
    expect(again.unseal("me", sealed)).toBe("secret");
    expect(again.unseal("you", sealed)).toBeUndefined();
    expect(again.unseal("me", `${sealed.slice(0, 20)}AAAA${sealed.slice(24)}`)).toBeUndefined();
    expect(again.unseal("me", "")).toBeUndefined();
    await writeFile(path, (await readFile(path)).subarray(1));
    expect(await codeOf(Vault.open(directory))).toBe("internal");
    await rm(path);
    expect((await Vault.open(directory)).unseal("me", sealed)).toBeUndefined();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
