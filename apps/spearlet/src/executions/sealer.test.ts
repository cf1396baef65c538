/** Output of ended attempts on its way into a real Object Store. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { outputStreams, type OutputPiece, type OutputStream } from "@spear/shared/output.ts";
import { outputHolder, readSealed, sealedKey } from "@spear/shared/sealed-output.ts";
import type { SealedStream } from "@spear/shared/sealed-output.ts";
import { StoreClient } from "@spear/shared/store/client.ts";
import fc from "fast-check";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";
import { until } from "../testing.ts";
import type { AttemptId } from "./attempt.ts";
import type { AttemptLog, LogQuery } from "./attemptlog.ts";
import { LogStore } from "./logs.ts";
import { findSealed, Sealer } from "./sealer.ts";

const { signal } = new AbortController();
let store: TestStore;
let client: StoreClient;
let root: string;
let logs: LogStore;
let sealer: Sealer | undefined;
/** What SMS was told, and what it answers. */
const told = new Map<string, SealedStream[]>();
let known = true;

beforeAll(async () => {
  store = await startTestStore();
  client = new StoreClient(() => store.url);
});
afterAll(() => store[Symbol.asyncDispose]());
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "spear-sealer-"));
  known = true;
});
afterEach(async () => {
  await sealer?.[Symbol.asyncDispose]();
  sealer = undefined;
  await rm(root, { recursive: true });
});

const openLogs = () =>
  LogStore.open(root, { attempts: 100, bytes: 2 ** 30 }, () => sealer?.signalled());

function startSealer(of = client): Sealer {
  sealer = new Sealer({
    logs,
    store: of,
    tell: (id, { streams }) => {
      told.set(id.taskId, streams as SealedStream[]);
      return Promise.resolve(known);
    },
    log: silentLog,
  });
  sealer.start();
  return sealer;
}

/** Writes pieces, as `["stdout", bytes]`, and ends the attempt. */
async function write(pieces: readonly [OutputStream, Uint8Array][]): Promise<AttemptLog> {
  const id: AttemptId = { taskId: systemIds.next("task"), attempt: 1 };
  const log = logs.create(id, 2 ** 20);
  for (const [stream, bytes] of pieces) await log.write(stream, bytes);
  await logs.end(log);
  return log;
}

const hello = () => write([["stdout", Buffer.from("hello")]]);

/** What a reader sees, pieces of one stream that follow each other taken together. */
async function shown(pieces: AsyncIterable<OutputPiece>): Promise<string[]> {
  const all: { stream: string; text: string; end: number }[] = [];
  for await (const { stream, data, offset } of pieces) {
    const text = Buffer.from(data).toString("latin1");
    const last = all.at(-1);
    if (last?.stream === stream && last.end === offset) last.text += text;
    else all.push({ stream, text, end: 0 });
    (all.at(-1) as { end: number }).end = offset + data.byteLength;
  }
  return all.map(({ stream, text, end }) => `${stream} ${end} ${text}`);
}

const live = (log: AttemptLog, query: Partial<LogQuery> = {}) =>
  shown(log.read({ follow: false, ...query }, signal));
const sealed = (streams: readonly SealedStream[], query: Partial<LogQuery> = {}) =>
  shown(readSealed(streams, query, (id, range) => client.read(id, range, signal)));
const toldOf = ({ id }: AttemptLog) => until(() => told.get(id.taskId));
const gone = (log: AttemptLog) => until(() => logs.find(log.id) === undefined || undefined);

test("sealed output reads as the live one did, byte for byte, in every way", async () => {
  logs = await openLogs();
  const piece = fc.tuple(fc.constantFrom(...outputStreams), fc.uint8Array({ minLength: 1 }));
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 20 }), async (pieces) => {
      const log = await write(pieces);
      const queries: Partial<LogQuery>[] = [
        {},
        { tailBytes: 3 },
        { stream: "stdout" },
        { stream: "stderr", tailBytes: 2 },
        { tailBytes: 0 },
      ];
      const before = await Promise.all(queries.map((query) => live(log, query)));
      let written = "";
      for (const [, bytes] of pieces) written += Buffer.from(bytes).toString("latin1");
      const whole = before[0]?.map((line) => line.replace(/^\w+ \d+ /, "")).join("");
      expect(whole).toBe(written);
      startSealer();
      const streams = await toldOf(log);
      await gone(log);
      await sealer?.[Symbol.asyncDispose]();
      expect(await Promise.all(queries.map((query) => sealed(streams, query)))).toEqual(before);
      expect(await sealed(await findSealed(client, log.id, signal))).toEqual(before[0] as string[]);
    }),
    { numRuns: 6 },
  );
});

test("a reader of half of the live output goes on with the sealed one", async () => {
  logs = await openLogs();
  const log = await write([
    ["stdout", Buffer.from("ab")],
    ["stderr", Buffer.from("cd")],
    ["stdout", Buffer.from("ef")],
  ]);
  startSealer();
  const streams = await toldOf(log);
  const from = (stream: OutputStream) => (stream === "stdout" ? 3 : 0);
  const rest = readSealed(streams, { from }, (id, range) => client.read(id, range, signal));
  expect(await shown(rest)).toEqual(["stderr 2 cd", "stdout 4 f"]);
});

test("what is large goes through in pieces", async () => {
  logs = await openLogs();
  const line = Buffer.alloc(2 ** 16, "x");
  const log = await write(
    Array.from({ length: 40 }, () => ["stdout", line] as const).map((l) => [...l]),
  );
  const before = await live(log);
  startSealer();
  const [stream] = await toldOf(log);
  // Of 2.5 MiB the limit has left the newest.
  expect(stream?.offset).toBeGreaterThan(0);
  expect(await sealed(stream === undefined ? [] : [stream])).toEqual(before);
});

test("nothing of the node's is removed before SMS knows, nor while somebody reads it", async () => {
  logs = await openLogs();
  const log = await hello();
  const pieces = log.read({ follow: false }, signal);
  await pieces.next();
  startSealer();
  await toldOf(log);
  expect(existsSync(log.dir)).toBe(true);
  await pieces.return(undefined);
  sealer?.signalled();
  await until(() => !existsSync(log.dir) || undefined);
});

test("a ref keeps it when its name is taken away", async () => {
  logs = await openLogs();
  const log = await hello();
  startSealer();
  const streams = await toldOf(log);
  const key = sealedKey(log.id.taskId, 1, "stdout");
  await client.delete({ bucket: "spear-logs", key }, signal);
  const id = streams[0]?.objectId ?? "";
  const why = await (await fetch(`${store.url}/v1/objects/${id}/why`)).json();
  expect(why).toMatchObject({ kept: true, refs: [{ holder: outputHolder(log.id.taskId) }] });
  expect(await sealed(streams)).toEqual(["stdout 5 hello"]);
});

describe("while something is away", () => {
  test("output waits for the store, also over a restart", async () => {
    logs = await openLogs();
    const log = await hello();
    let url = "";
    const flaky = new StoreClient(() => url);
    await using first = startSealer(flaky);
    first.signalled();
    expect(logs.find(log.id)).toBeDefined();
    await first[Symbol.asyncDispose]();
    logs = await openLogs();
    url = store.url;
    startSealer(flaky);
    expect(await sealed(await toldOf(log))).toEqual(["stdout 5 hello"]);
    await gone(log);
  });

  test("what was stored and not told of is told again and not stored twice", async () => {
    logs = await openLogs();
    const log = await hello();
    const deaf = new Sealer({
      logs,
      store: client,
      tell: (_, __, stop) =>
        new Promise((_resolve, reject) =>
          stop.addEventListener("abort", () => reject(stop.reason as Error)),
        ),
      log: silentLog,
    });
    deaf.start();
    const before = await until(async () => {
      const found = await findSealed(client, log.id, signal);
      return found.length > 0 ? found : undefined;
    });
    await deaf[Symbol.asyncDispose]();
    logs = await openLogs();
    startSealer();
    expect(await toldOf(log)).toEqual(before);
  });
});

test("output of a task that is no more is removed everywhere", async () => {
  logs = await openLogs();
  known = false;
  const log = await hello();
  startSealer();
  const streams = await toldOf(log);
  await gone(log);
  expect(await findSealed(client, log.id, signal)).toEqual([]);
  const why = await fetch(`${store.url}/v1/objects/${streams[0]?.objectId}/why`);
  expect(await why.json()).toMatchObject({ kept: false });
});

test("a node that stops waits for its output, but not for long", async () => {
  logs = await openLogs();
  const log = await hello();
  await startSealer().drain(10_000);
  expect(logs.find(log.id)).toBeUndefined();
  await sealer?.[Symbol.asyncDispose]();
  await hello();
  const away = new StoreClient(() => "http://127.0.0.1:1");
  await startSealer(away).drain(1);
  expect(logs.ended().length).toBe(1);
});

test("what the store refuses for good holds up no other", async () => {
  logs = await openLogs();
  const refused = await hello();
  const other = await hello();
  class Refusing extends StoreClient {
    override put(...args: Parameters<StoreClient["put"]>) {
      if (!args[0].key.startsWith(refused.id.taskId)) return super.put(...args);
      return Promise.reject(new Fault("payload_too_large", "too large"));
    }
  }
  startSealer(new Refusing(() => store.url));
  await gone(other);
  expect(logs.find(refused.id)).toBeDefined();
});
