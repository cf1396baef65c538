import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { manifestFile } from "./artifact.ts";
import { ArtifactCache } from "./cache.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "spear-artifacts-"));
});
afterEach(() => rm(folder, { recursive: true }));

let made = 0;
async function make(into: string): Promise<void> {
  made += 1;
  await writeFile(join(into, manifestFile), "{}");
  await writeFile(join(into, "component.js"), "x".repeat(1000));
}

test("makes an entry once, also for those who ask at the same time", async () => {
  const cache = new ArtifactCache(folder, 1_000_000);
  made = 0;
  const both = await Promise.all([cache.obtain("a", make), cache.obtain("a", make)]);
  const later = await new ArtifactCache(folder, 1_000_000).obtain("a", make);
  expect(made).toBe(1);
  expect(new Set([...both, later].map((artifact) => artifact.folder)).size).toBe(1);
  expect(existsSync(join(later.folder, "component.js"))).toBe(true);
});

test("keeps nothing of what failed, and tries again", async () => {
  const cache = new ArtifactCache(folder, 1_000_000);
  const fail = async (into: string) => {
    await make(into);
    throw new Error("no good");
  };
  expect(await cache.obtain("a", fail).catch((error: unknown) => String(error))).toContain(
    "no good",
  );
  expect(await readdir(folder)).toEqual([]);
  await cache.obtain("a", make);
  expect((await readdir(folder)).length).toBe(1);
});

test("lets the least recently used go, but not what is in use", async () => {
  const cache = new ArtifactCache(folder, 2500);
  const first = await cache.obtain("a", make);
  const second = await cache.obtain("b", make);
  second[Symbol.dispose]();
  second[Symbol.dispose]();
  const third = await cache.obtain("c", make);
  expect(existsSync(first.folder)).toBe(true);
  expect(existsSync(second.folder)).toBe(false);
  expect(existsSync(third.folder)).toBe(true);
  first[Symbol.dispose]();
  await cache.obtain("d", make);
  expect(existsSync(first.folder)).toBe(false);
});

test("removes what an earlier run did not finish", async () => {
  await mkdir(join(folder, ".making-0"));
  await writeFile(join(folder, ".making-0", "component.js"), "half");
  await new ArtifactCache(folder, 1_000_000).obtain("a", make);
  expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([]);
});
