import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds } from "@spear/shared/ids.ts";
import type { AttemptId } from "./attempt.ts";
import { LogStore, parseStream, type AttemptLog, type LogQuery } from "./logs.ts";

let root: string;
const open = (limits = { attempts: 100, bytes: 2 ** 30 }) => LogStore.open(root, limits);
const newId = (): AttemptId => ({ taskId: systemIds.next("task"), attempt: 1 });

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "spear-logs-"));
});
afterAll(() => rm(root, { recursive: true }));

async function read(log: AttemptLog | undefined, query: Partial<LogQuery> = {}) {
  const { signal } = new AbortController();
  let text = "";
  const offsets: number[] = [];
  for await (const piece of log?.read({ follow: false, ...query }, signal) ?? []) {
    text += Buffer.from(piece.data).toString("latin1");
    offsets.push(piece.offset);
  }
  return { text, offsets };
}

test("streams are kept apart, tails are counted from the end", async () => {
  const store = await open();
  const log = store.create(newId(), 4096);
  await log.write("stdout", Buffer.from("one\n"));
  await log.write("stderr", Buffer.from("bad"));
  await log.write("stdout", Buffer.from("two"));
  expect(await read(log, { stream: "stdout" })).toEqual({ text: "one\ntwo", offsets: [0] });
  expect(await read(log, { stream: "stderr", tailBytes: 2 })).toEqual({ text: "ad", offsets: [1] });
  expect((await read(log, { tailBytes: 1 })).text).toBe("od");
  await store.end(log);
});

test("a follower sees what comes, and its end", async () => {
  const store = await open();
  const log = store.create(newId(), 4096);
  const followed = read(log, { follow: true });
  await log.write("stdout", Buffer.from("a"));
  await log.write("stdout", Buffer.from("b"));
  await store.end(log);
  expect((await followed).text).toBe("ab");
});

test("the newest bytes stay, whatever the pieces' size, at true offsets", async () => {
  const store = await open();
  for (const piece of [100, 1_000, 4_096, 10_000]) {
    const log = store.create(newId(), 4_096);
    let all = "";
    for (let index = 0; all.length < 40_000; index += 1) {
      const bytes = String.fromCharCode(97 + (index % 26)).repeat(piece);
      all += bytes;
      await log.write("stdout", Buffer.from(bytes));
    }
    const { text, offsets } = await read(log);
    expect(all.endsWith(text)).toBe(true);
    expect(text.length).toBeGreaterThanOrEqual(4_096);
    expect(text.length).toBeLessThanOrEqual(4_096 + 1_024 + piece);
    expect(offsets[0]).toBe(all.length - text.length);
    expect(log.endOf("stdout")).toBe(all.length);
    await store.end(log);
  }
});

describe("after a restart", () => {
  test("what was captured is there, and an adopted attempt goes on behind it", async () => {
    const id = newId();
    const first = await open();
    const interrupted = first.create(id, 4096);
    await interrupted.write("stdout", Buffer.from("before "));
    const second = await open();
    expect((await read(second.find(id))).text).toBe("before ");
    const log = second.resume(id, 4096);
    expect(log.endOf("stdout")).toBe(7);
    await log.write("stdout", Buffer.from("after"));
    expect(await read(log)).toEqual({ text: "before after", offsets: [0, 7] });
    await second.end(log);
    await interrupted.end();
  });

  test("an attempt that had written nothing starts at the beginning", async () => {
    const store = await open();
    const log = store.resume(newId(), 4096);
    expect(log.endOf("stdout")).toBe(0);
    await store.end(log);
  });
});

test("the oldest output goes when there are too many attempts or too many bytes", async () => {
  const dir = await mkdtemp(join(tmpdir(), "spear-logs-"));
  for (const limits of [
    { attempts: 2, bytes: 2 ** 30 },
    { attempts: 100, bytes: 250 },
  ]) {
    const store = await LogStore.open(dir, limits);
    const ids = [newId(), newId(), newId()];
    for (const id of ids) {
      const log = store.create(id, 4096);
      await log.write("stdout", Buffer.alloc(100));
      await store.end(log);
    }
    expect(ids.map((id) => store.find(id) !== undefined)).toEqual([false, true, true]);
    expect((await readdir(dir)).length).toBe(2);
  }
  await rm(dir, { recursive: true });
});

test("a stream that there is not is an error that names the field", () => {
  expect(parseStream("")).toBeUndefined();
  expect(parseStream("stderr")).toBe("stderr");
  expect(() => parseStream("both")).toThrow("stream: must be one of stdout, stderr, system");
});
