/** The executable alone in an empty folder: nothing else of the project is within its reach. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Dev, repository, spear, startDev } from "./spear.ts";

// It is built first, and whole clusters start.
setDefaultTimeout(240_000);

const fromSource = process.env["SPEAR_TEST_EXECUTABLE"];
let folder: string;
let env: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "spear-executable-"));
  const built = Bun.spawnSync([process.execPath, "scripts/build.ts", process.arch], {
    cwd: repository,
  });
  if (!built.success) throw new Error(built.stderr.toString());
  await copyFile(join(repository, "dist/spear"), join(folder, "spear"));
  process.env["SPEAR_TEST_EXECUTABLE"] = join(folder, "spear");
  // redis-server may be where the set-up of the tests has put it.
  env = { HOME: folder, PATH: process.env["PATH"] ?? "", TMPDIR: folder };
});
afterAll(async () => {
  if (fromSource === undefined) delete process.env["SPEAR_TEST_EXECUTABLE"];
  else process.env["SPEAR_TEST_EXECUTABLE"] = fromSource;
  await rm(folder, { recursive: true });
});

test("the demo counts right", async () => {
  const ended = await spear(["demo"], { cwd: folder, env });
  expect(ended.stderr).toContain("the counts were read back from the store and are right");
  expect(ended.code).toBe(0);
});

test("a cluster runs processes and guests on both engines, and shows its documentation", async () => {
  const guest = join(folder, "guest.wasm");
  const compiled = Bun.spawnSync(
    ["clang", "--target=wasm32-wasi", "--sysroot=/usr", "-O2", "-x", "c", "-o", guest, "-"],
    {
      stdin: Buffer.from('#include <stdio.h>\nint main(void) { puts("from a guest"); return 0; }'),
    },
  );
  expect(compiled.stderr.toString()).toBe("");
  await using dev: Dev = await startDev(["--nodes", "1"], join(folder, "dev"), env);
  const run = (...args: string[]) => dev.spear(["run", ...args], { cwd: folder, env });
  expect(await run("--", "sh", "-c", "echo from a process; exit 3")).toMatchObject({
    code: 3,
    stdout: "from a process\n",
  });
  expect(await run("--wasm", guest)).toMatchObject({ code: 0, stdout: "from a guest\n" });
  const job = join(folder, "job.yaml");
  await writeFile(job, "tasks:\n  adapted: { wasm: { module: ./guest.wasm, engine: jco } }\n");
  const adapted = await dev.spear(["submit", "--wait", job], { cwd: folder, env });
  expect(adapted).toMatchObject({ code: 0 });
  const address = dev.env["SPEAR_ADDRESS"];
  const page = await (await fetch(`${address}/docs`)).text();
  expect(page).toContain("swagger-ui-bundle.js");
  const script = await (await fetch(`${address}/docs/swagger-ui-bundle.js`)).text();
  expect(script.length).toBeGreaterThan(1_000_000);
  expect(await (await fetch(`${address}/openapi.json`)).json()).toMatchObject({
    info: { title: "SPEAR SMS" },
  });
});
