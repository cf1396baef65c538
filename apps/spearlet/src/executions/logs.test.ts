import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFile, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds } from "@spear/shared/ids.ts";
import { attemptKey, type AttemptId } from "./attempt.ts";
import type { AttemptLog, LogQuery } from "./attemptlog.ts";
import { LogStore, parseStream } from "./logs.ts";

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
  // In the order in which it was written, from stream to stream.
  expect((await read(log)).text).toBe("one\nbadtwo");
  expect((await read(log, { tailBytes: 1 })).text).toBe("do");
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

  test("streams are still in order, also if a turn was cut off", async () => {
    const id = newId();
    const first = (await open()).create(id, 4096);
    for (const [stream, text] of [
      ["stdout", "a"],
      ["stderr", "b"],
      ["stdout", "c"],
    ] as const) {
      await first.write(stream, Buffer.from(text));
    }
    await first.end();
    await appendFile(join(root, attemptKey(id), "order.0"), "cut");
    const store = await open();
    const log = store.resume(id, 4096);
    await log.write("stderr", Buffer.from("d"));
    await log.write("stdout", Buffer.from("e"));
    expect((await read(log)).text).toBe("abcde");
    await store.end(log);
    expect((await read((await open()).find(id))).text).toBe("abcde");
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

test("who reads what is removed meanwhile is told so", async () => {
  const store = await open();
  const log = store.create(newId(), 4096);
  await log.write("stdout", Buffer.from("a"));
  await store.end(log);
  const pieces = log.read({ follow: false }, new AbortController().signal);
  await pieces.next();
  await store.remove(log);
  await expect(pieces.next()).rejects.toThrow("has removed the output");
});

test("a stream that there is not is an error that names the field", () => {
  expect(parseStream("")).toBeUndefined();
  expect(parseStream("stderr")).toBe("stderr");
  expect(() => parseStream("both")).toThrow("stream: must be one of stdout, stderr, system");
});
