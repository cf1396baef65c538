import { expect, test } from "bun:test";
import { appendFile, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal } from "./journal.ts";

async function withPath(use: (path: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "spear-journal-"));
  try {
    await use(join(dir, "journal.jsonl"));
  } finally {
    await rm(dir, { recursive: true });
  }
}

test("what was set is there after a reopening, what was deleted is not", async () => {
  await withPath((path) => {
    const first = Journal.open<number>(path);
    first.set("a", 1);
    first.set("b", 2);
    first.set("a", 3);
    first.delete("b");
    first[Symbol.dispose]();
    using second = Journal.open<number>(path);
    expect(second.entries()).toEqual([["a", 3]]);
    expect([second.size, second.has("a"), second.has("b")]).toEqual([1, true, false]);
    return Promise.resolve();
  });
});

test("a line that was cut off is ignored, and later ones count", async () => {
  await withPath(async (path) => {
    const first = Journal.open<string>(path);
    first.set("a", "whole");
    first[Symbol.dispose]();
    await appendFile(path, '{"key":"b","val');
    await appendFile(path, '\n{"key":"c","value":"after"}\n');
    using second = Journal.open<string>(path);
    expect(second.entries()).toEqual([
      ["a", "whole"],
      ["c", "after"],
    ]);
  });
});

test("the file stays small however much was written, and private", async () => {
  await withPath(async (path) => {
    using journal = Journal.open<string>(path);
    for (let index = 0; index < 3_000; index += 1) journal.set("only", "x".repeat(1_000));
    expect((await stat(path)).size).toBeLessThan(1_100_000);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    journal.set("last", "y");
    expect(await readFile(path, "utf8")).toEndWith('{"key":"last","value":"y"}\n');
  });
});
