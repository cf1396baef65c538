import { expect, test } from "bun:test";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpuLimit, findCgroups, memoryLimit } from "./cgroups.ts";

test("version 2 alone: the least limit up to the root counts", async () => {
  const root = await mkdtemp(join(tmpdir(), "spear-cgroups-"));
  await mkdir(join(root, "outer/inner"), { recursive: true });
  await writeFile(join(root, "outer/cpu.max"), "150000 100000\n");
  await writeFile(join(root, "outer/inner/cpu.max"), "max 100000\n");
  await writeFile(join(root, "outer/memory.max"), "max\n");
  await writeFile(join(root, "outer/inner/memory.max"), "1048576\n");
  const found = findCgroups(
    `30 23 0:26 / ${root} rw,relatime shared:4 - cgroup2 cgroup2 rw\n`,
    "0::/outer/inner\n",
  );
  expect(found.v2).toEqual({ mount: root, own: join(root, "outer/inner") });
  expect([cpuLimit(found), memoryLimit(found)]).toEqual([1.5, 1_048_576]);
  await rm(root, { recursive: true });
});

test("both versions: each controller has its hierarchy, and no limit is no number", async () => {
  const root = await mkdtemp(join(tmpdir(), "spear-cgroups-"));
  await mkdir(join(root, "memory/mine"), { recursive: true });
  await mkdir(join(root, "cpu"), { recursive: true });
  await writeFile(join(root, "cpu/cpu.cfs_quota_us"), "-1\n");
  await writeFile(join(root, "cpu/cpu.cfs_period_us"), "100000\n");
  await writeFile(join(root, "memory/mine/memory.limit_in_bytes"), "9223372036854771712\n");
  const line = (name: string) => `1 1 0:1 / ${root}/${name} rw - cgroup cgroup rw,${name}\n`;
  const found = findCgroups(line("cpu") + line("memory"), "4:memory:/mine\n1:cpu:/gone\n");
  expect(found.v2).toBeUndefined();
  expect(found.v1.get("memory")?.own).toBe(join(root, "memory/mine"));
  // The path of another view of the hierarchy is not there; its root is ours.
  expect(found.v1.get("cpu")?.own).toBe(join(root, "cpu"));
  expect([cpuLimit(found), memoryLimit(found)]).toEqual([undefined, undefined]);
  await rm(root, { recursive: true });
});

test("no groups at all set no limit", () => {
  const found = findCgroups("", "");
  expect([cpuLimit(found), memoryLimit(found)]).toEqual([undefined, undefined]);
});
