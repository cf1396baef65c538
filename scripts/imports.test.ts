import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdir, mkdtemp, copyFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { root, tool } from "./tools.ts";

/** File → imports that the direction rule forbids there. */
const forbidden: Record<string, string[]> = {
  "apps/sms/src/sms.ts": ["@spear/store/store.ts", "@spear/cli/main.ts"],
  "apps/sms/src/tasks/tasks.ts": [
    "@spear/spearlet/spearlet.ts",
    "../../../store/src/store.ts",
    "./http.ts",
    "../nodes/grpc.ts",
    "elysia",
  ],
  "apps/sms/src/tasks/http.ts": ["ioredis", "./redis.ts", "@spear/store/config.ts"],
  "apps/sms/src/tasks/grpc.ts": ["bullmq", "@spear/shared/redis/client.ts"],
  "apps/spearlet/src/agents/process.ts": ["@spear/sms/sms.ts", "@spear/store/store.ts"],
  "apps/store/src/objects/objects.ts": ["@spear/sms/sms.ts", "@spear/spearlet/config.ts"],
  "apps/cli/src/dev.ts": ["@spear/sms/tasks/tasks.ts", "../../store/src/objects/objects.ts"],
  "libs/proto/src/enums.ts": ["@spear/sms/sms.ts", "../../../apps/store/src/store.ts"],
  "libs/shared/src/task.ts": ["@spear/proto/enums.ts", "@spear/store/store.ts"],
};

/** File → imports that stay allowed there. */
const allowed: Record<string, string[]> = {
  "apps/sms/src/main.ts": ["./sms.ts", "@spear/shared/log.ts"],
  "apps/sms/src/setup.ts": ["./tasks/http.ts", "./tasks/grpc.ts", "./tasks/redis.ts", "ioredis"],
  "apps/sms/src/events/http.ts": ["elysia", "./events.ts"],
  "apps/sms/src/events/events.ts": ["ioredis", "../tasks/redis.ts", "@spear/proto/enums.ts"],
  "apps/cli/src/sms.ts": ["@spear/sms/sms.ts", "@spear/sms/config.ts", "@spear/store/store.ts"],
  "libs/proto/src/task.ts": ["@spear/shared/task.ts"],
  "tests/contract/x.test.ts": ["@spear/sms/tasks/tasks.ts"],
};

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-imports-"));
  await copyFile(join(root, ".oxlintrc.json"), join(directory, ".oxlintrc.json"));
  for (const [path, imports] of [...Object.entries(forbidden), ...Object.entries(allowed)]) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    const lines = imports.map((name, index) => `import * as x${index} from "${name}";`);
    await writeFile(join(directory, path), lines.join("\n"));
  }
});
afterAll(() => rm(directory, { recursive: true }));

test("the direction rule fires at each forbidden import and at no other", async () => {
  const { output } = await tool("oxlint", ["--format", "unix", "."], directory);
  const fired = output
    .split("\n")
    .filter((line) => line.includes("no-restricted-imports"))
    .map((line) => line.split(":").slice(0, 2).join(":"));
  const expected = Object.entries(forbidden).flatMap(([path, imports]) =>
    imports.map((_, index) => `${path}:${index + 1}`),
  );
  expect(fired.toSorted()).toEqual(expected.toSorted());
});

test("a cycle of imports is found", async () => {
  const cycle = join(directory, "cycle");
  await mkdir(cycle);
  await copyFile(join(root, ".oxlintrc.json"), join(cycle, ".oxlintrc.json"));
  await writeFile(join(cycle, "a.ts"), 'import { b } from "./b.ts";\nexport const a = () => b;\n');
  await writeFile(join(cycle, "b.ts"), 'import { a } from "./a.ts";\nexport const b = () => a;\n');
  const { output } = await tool("oxlint", ["--format", "unix", "."], cycle);
  expect(output).toContain("import(no-cycle)");
});
