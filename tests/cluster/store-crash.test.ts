/**
 * The crash suite: a Store under load is killed at every step of what it does,
 * and at random times. After a restart every acknowledged put is whole, nothing
 * else is there but what is whole too, and after fsck nothing is left over (O1, O3).
 */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "@spear/shared/config.ts";
import { silentLog } from "@spear/shared/log.ts";
import { storeConfig, type StoreConfig } from "@spear/store/config.ts";
import type { Step } from "@spear/store/failpoint.ts";
import { fsckStore } from "@spear/store/lifecycle/maintenance.ts";
import { start, type RunningStore } from "@spear/store/store.ts";

const never = new AbortController().signal;
const bucket = "crash-bucket";
// Programs start and end here, on a machine that may be loaded.
const timeoutMs = 60_000;

/** The bytes that belong to a key: small ones, and some of two chunks. */
function bytesOf(key: string): Buffer {
  const large = key.startsWith("large");
  const seed = createHash("sha256").update(key).digest();
  const bytes = Buffer.alloc(large ? 100_000 : 2_000);
  for (let at = 0; at < bytes.length; at += seed.length) seed.copy(bytes, at);
  return bytes;
}

interface Victim {
  readonly http: string;
  readonly exited: Promise<number>;
  kill(): void;
}

async function startVictim(config: StoreConfig, step: string, nth: number): Promise<Victim> {
  const flags = Object.entries(config).map(
    ([name, value]) =>
      `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}=${String(value)}`,
  );
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "store-failing.ts"), step, String(nth), ...flags],
    { stdin: "ignore", stdout: "pipe", stderr: "ignore", env: { PATH: process.env["PATH"] ?? "" } },
  );
  let text = "";
  const decoder = new TextDecoder();
  for await (const piece of child.stdout) {
    text += decoder.decode(piece);
    if (text.includes("\n")) break;
  }
  const { http } = text === "" ? { http: "" } : (JSON.parse(text) as { http: string });
  return { http, exited: child.exited, kill: () => child.kill("SIGKILL") };
}

/** Puts, overwrites and deletes until the victim is dead; what was acknowledged, by key. */
async function load(victim: Victim, round: number): Promise<Map<string, "there" | "gone">> {
  const acknowledged = new Map<string, "there" | "gone">();
  const at = (key: string) => `http://${victim.http}/v1/buckets/${bucket}/objects/${key}`;
  const client = async (name: string) => {
    for (let serial = 0; ; serial++) {
      const key = `${serial % 4 === 3 ? "large" : "small"}-${round}-${name}-${serial}`;
      try {
        const put = await fetch(at(key), { method: "PUT", body: bytesOf(key) });
        if (put.ok) acknowledged.set(key, "there");
        if (serial % 3 !== 0) {
          acknowledged.delete(key);
          const gone = await fetch(at(key), { method: "DELETE" });
          if (gone.ok) acknowledged.set(key, "gone");
        }
      } catch {
        return;
      }
    }
  };
  if (victim.http !== "") await Promise.all(["a", "b", "c", "d"].map(client));
  return acknowledged;
}

async function check(store: RunningStore, acknowledged: ReadonlyMap<string, string>) {
  const present = new Set<string>();
  let pageToken: string | undefined;
  do {
    const page = await store.objects.list({ bucket, pageToken });
    for (const { key } of page.objects) {
      present.add(key);
      const pieces: Buffer[] = [];
      const { body } = await store.objects.open({ bucket, key }, never);
      for await (const piece of body) pieces.push(Buffer.from(piece));
      expect(Buffer.concat(pieces).equals(bytesOf(key))).toBe(true);
    }
    pageToken = page.nextPageToken;
  } while (pageToken !== undefined);
  for (const [key, state] of acknowledged) {
    expect({ key, there: present.has(key) }).toEqual({ key, there: state === "there" });
  }
}

async function survives(step: Step | "random", nth: number, rounds = 1): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "spear-crash-"));
  const config = loadConfig("store", storeConfig, {
    flags: {
      httpListen: "127.0.0.1:0",
      grpcListen: "127.0.0.1:0",
      redisUrl: process.env["SPEAR_TEST_REDIS"] ?? "",
      namespace: `crash-${crypto.randomUUID()}`,
      dataDir,
      logLevel: "silent",
      reserveBytes: 0,
      graceMs: 0,
      collectMs: 50,
      segmentBytes: 32 << 10,
      journalBytes: step.startsWith("checkpoint") ? 4 << 10 : 64 << 10,
    },
    environment: {},
  });
  try {
    {
      await using store = await start(config, { log: silentLog });
      await store.buckets.create(bucket, true);
    }
    const acknowledged = new Map<string, "there" | "gone">();
    for (let round = 0; round < rounds; round++) {
      const victim = await startVictim(config, step, nth);
      const timer =
        step === "random" ? setTimeout(() => victim.kill(), 100 + 150 * round) : undefined;
      for (const [key, state] of await load(victim, round)) acknowledged.set(key, state);
      await victim.exited;
      clearTimeout(timer);
    }
    {
      await using store = await start(config, { log: silentLog });
      await check(store, acknowledged);
    }
    const report = await fsckStore(config, true, silentLog);
    // What a crash leaves over is blobs that no commit has named, nothing else.
    expect(report.findings.filter(({ kind }) => kind !== "blob_orphan")).toEqual([]);
    expect((await fsckStore(config, false, silentLog)).findings).toEqual([]);
    await using store = await start(config, { log: silentLog });
    await check(store, acknowledged);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

test.each<[Step, number]>([
  ["blob.written", 3],
  ["blob.synced", 3],
  ["blob.renamed", 3],
  ["blob.stored", 3],
  ["segment.written", 5],
  ["segment.synced", 5],
  ["put.ingested", 9],
  ["put.committed", 9],
  ["journal.written", 9],
  ["journal.synced", 9],
  ["journal.trimmed", 9],
  ["collect.forgotten", 3],
  ["collect.removed", 2],
  ["compact.appended", 2],
  ["compact.moved", 2],
  ["checkpoint.written", 1],
  ["checkpoint.renamed", 1],
])("SIGKILL at %s loses nothing and leaves nothing", (step, nth) => survives(step, nth), timeoutMs);

test(
  "SIGKILL at random times, again and again, loses nothing and leaves nothing",
  () => survives("random", 0, 5),
  timeoutMs,
);
