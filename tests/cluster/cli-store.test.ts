/** What an operator does to a store with `spear store …`, beside it and while it is stopped. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Program } from "../programs.ts";
import { startRedis, type TestRedis } from "../redis.ts";
import { environment, inTerminal, repository, spear } from "./spear.ts";

// Programs start here; on a loaded machine that takes its time.
setDefaultTimeout(120_000);

let directory: string;
let redis: TestRedis;
let store: Program;
let env: Record<string, string>;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-cli-store-"));
  redis = await startRedis();
  env = { SPEAR_STORE_REDIS_URL: redis.url, SPEAR_STORE_DATA_DIR: join(directory, "data") };
  const flags = { httpListen: "127.0.0.1:0", grpcListen: "127.0.0.1:0", reserveBytes: 0 };
  store = await new Program("store", { flags, environment: env }).start();
  const bucket = `http://${store.http}/v1/buckets/kept`;
  await fetch(bucket, { method: "PUT" });
  for (const [key, body] of [
    ["large", Buffer.alloc(300_000, "large")],
    ["small", "small"],
  ] as const) {
    expect((await fetch(`${bucket}/objects/${key}`, { method: "PUT", body })).status).toBe(200);
  }
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

const operate = (...args: string[]) => spear(["store", ...args], { env });

test("beside a store that runs: scrub and backup work, what would take it over is refused", async () => {
  expect(await operate("scrub", "--rate", "max")).toMatchObject({
    code: 0,
    stdout: "2 chunks, 293 KiB: all are whole\n",
  });
  const backup = await operate("backup", join(directory, "backup"), "-o", "json");
  expect(JSON.parse(backup.stdout)).toMatchObject({ objects: 2, chunks: 2, damaged: [] });
  const takeovers = [["fsck"], ["rebuild"], ["restore", join(directory, "backup")]];
  for (const refused of await Promise.all(takeovers.map((action) => operate(...action)))) {
    expect(refused).toMatchObject({
      code: 1,
      stderr: `error: a Store runs with these data, at ${store.http}\n  stop it first; scrub and backup may run beside it\n`,
    });
  }
  expect((await fetch(`http://${store.http}/v1/buckets/kept/objects/small`)).status).toBe(200);
});

test("the page does what it says", async () => {
  const page = await readFile(join(repository, "docs/object-store.md"), "utf8");
  const blocks = [...page.matchAll(/^```sh.*\n([\s\S]*?)^```$/gm)].map(([, text]) => text);
  expect(blocks.length).toBe(4);
  const script = join(directory, "page.sh");
  const main = join(repository, "apps/cli/src/main.ts");
  await writeFile(
    script,
    `spear() { "${process.execPath}" --no-env-file "${main}" "$@"; }\n${blocks.join("\n")}`,
  );
  await writeFile(join(directory, "report.txt"), "all is well");
  const child = Bun.spawn(["sh", "-eu", script], {
    cwd: directory,
    env: environment({
      ...env,
      SPEAR_STORE_ADDRESS: `http://${store.http}`,
      PLACE: join(directory, "page-backup"),
    }),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [said, wrong] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect({ code: await child.exited, wrong }).toEqual({ code: 0, wrong: "" });
  for (const expected of [
    "all is well",
    "removed docs/2026/report.txt\nremoved docs/latest.txt",
    "its pin\n  the reference of user/ann, which ends in ",
    "expiry   tmp/* after 1h\n",
    "docs has no rules",
    "all are whole",
  ]) {
    expect(said).toContain(expected);
  }
});

test("a stopped store is checked, mended, lost and brought back", async () => {
  await store[Symbol.asyncDispose]();
  expect((await operate("fsck")).stdout).toBe("4 objects, 3 chunks, 1 blobs: all is well\n");
  const chunks = join(directory, "data", "chunks");
  const lost = (await readdir(chunks, { recursive: true })).find((name) => name.length > 80);
  await rm(join(chunks, lost ?? ""));
  const orphan = `${"ab".repeat(32)}.${"cd".repeat(8)}`;
  await Bun.write(join(chunks, "ab", orphan), "left over");
  const found = await operate("fsck");
  expect(found.code).toBe(1);
  expect(found.stdout).toContain("2 found, 0 put right; --fix puts right what can be");
  const fixed = await operate("fsck", "--fix", "-o", "json");
  expect(fixed.code).toBe(1);
  expect(JSON.parse(fixed.stdout)).toMatchObject({
    left: 1,
    findings: [
      { kind: "chunk_missing", mended: false },
      { kind: "blob_orphan", subject: orphan, mended: true },
    ],
  });
  expect((await operate("scrub", "--rate", "max")).code).toBe(1);
  await rm(join(directory, "data"), { recursive: true });
  await redis.wipe();
  const restored = await operate("restore", join(directory, "backup"));
  expect(restored).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("2 objects, 2 chunks"),
  });
  expect((await operate("fsck")).code).toBe(0);
  await redis.wipe();
  expect((await operate("rebuild")).stdout).toBe("made the metadata again from 7 changes\n");
});

test("wrong words are told, and a terminal sees how far it is", async () => {
  const words = [
    [["nope"], 'spear store knows no "nope"'],
    [["backup"], "spear store backup takes one place"],
    [["fsck", "extra"], 'spear store fsck takes no "extra"'],
    [["scrub", "--rate", "soon"], '--rate: "soon" is no rate'],
    [["fsck", "-o", "xml"], "--format: must be one of"],
  ] as const;
  await Promise.all(
    words.map(async ([args, said]) => {
      const { code, stderr } = await operate(...args);
      expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(said) });
    }),
  );
  const terminal = inTerminal(env, "store", "scrub", "--rate", "max");
  expect(await terminal.exited).toBe(0);
  expect(terminal.shown()).toContain("read 2 chunks, 293 KiB");
});
