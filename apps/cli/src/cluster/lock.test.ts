import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addressFile, lockDataDir } from "./lock.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-lock-"));
});
afterEach(() => rm(directory, { recursive: true }));

/** Takes the lock in another process and holds it until that is killed. */
async function holdElsewhere(): Promise<Bun.Subprocess> {
  const holder = Bun.spawn(
    [
      process.execPath,
      "-e",
      `import { lockDataDir } from ${JSON.stringify(join(import.meta.dir, "lock.ts"))};
       lockDataDir(process.argv.at(-1)); console.log("held"); setInterval(() => {}, 1000);`,
      directory,
    ],
    { stdout: "pipe" },
  );
  await holder.stdout.getReader().read();
  return holder;
}

test("a second cluster is refused, with the holder's process", async () => {
  const holder = await holdElsewhere();
  try {
    await writeFile(join(directory, addressFile), JSON.stringify({ pid: holder.pid }));
    expect(() => lockDataDir(directory)).toThrow(
      `another cluster runs in ${directory} (process ${holder.pid})`,
    );
  } finally {
    holder.kill("SIGKILL");
    await holder.exited;
  }
  // However the holder ended, the lock went with it.
  lockDataDir(directory)[Symbol.dispose]();
});

test("a directory that can't be made is named", async () => {
  await writeFile(join(directory, "file"), "");
  expect(() => lockDataDir(join(directory, "file", "dir"))).toThrow("--data-dir: ");
});
