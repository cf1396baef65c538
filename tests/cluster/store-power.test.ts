/**
 * Loss of power: a Store under load is traced, and the trace replayed onto a disk that
 * forgets what was not synced. Wherever the power goes, and though Redis lost all it
 * had, every put that was acknowledged is whole after `rebuild`, and nothing else is
 * there but what is whole too (O1). `SPEAR_POINTS` says at how many points.
 */
import { expect, test } from "bun:test";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "@spear/shared/config.ts";
import { silentLog } from "@spear/shared/log.ts";
import { storeConfig, type StoreConfig } from "@spear/store/config.ts";
import { rebuildStore } from "@spear/store/lifecycle/maintenance.ts";
import { start } from "@spear/store/store.ts";
import { straceInto, TracedDisk } from "../powerloss.ts";
import { Program, until } from "../programs.ts";

const points = Number(process.env["SPEAR_POINTS"] ?? 3);
const never = new AbortController().signal;
const bucket = "power";
// Programs start and end here, traced, on a machine that may be loaded.
const timeoutMs = 120_000 + points * 10_000;

/** The bytes that belong to a key: every fourth is more than a segment takes. */
function bytesOf(key: string): Buffer {
  const large = Number(key.split("-")[1]) % 4 === 3;
  return Buffer.alloc(large ? 70_000 : 1_500, `${key} `);
}

const settings = (dataDir: string) => ({
  httpListen: "127.0.0.1:0",
  grpcListen: "127.0.0.1:0",
  redisUrl: process.env["SPEAR_TEST_REDIS"] ?? "",
  namespace: `power-${crypto.randomUUID()}`,
  dataDir,
  logLevel: "silent",
  reserveBytes: 0,
});

/** Puts and deletes through a Store that is traced; returns the trace's lines. */
async function trace(directory: string): Promise<string[]> {
  const dataDir = join(directory, "data");
  const path = join(directory, "trace");
  const flags = {
    ...settings(dataDir),
    graceMs: 0,
    collectMs: 20,
    segmentBytes: 8 << 10,
    journalBytes: 2 << 10,
  };
  {
    await using store = await new Program("store", { flags, wrapper: straceInto(path) }).start();
    const at = `http://${store.http}/v1/buckets/${bucket}`;
    await fetch(at, { method: "PUT" });
    const client = async (name: string) => {
      for (let serial = 0; serial < 12; serial++) {
        const key = `${name}-${serial}`;
        const url = `${at}/objects/${key}`;
        expect((await fetch(url, { method: "PUT", body: bytesOf(key) })).status).toBe(200);
        if (serial % 3 !== 0) continue;
        const gone = await fetch(url, { method: "DELETE", headers: { "x-request-id": key } });
        expect(gone.status).toBe(200);
      }
    };
    await Promise.all(["a", "b", "c", "d"].map(client));
    await until("there was a checkpoint", async () =>
      (await readdir(join(dataDir, "journal"))).some((name) => name.endsWith(".checkpoint")),
    );
  }
  // The tracer ends a moment after what it traced.
  const text = await until("the trace is whole", async () => {
    const read = await readFile(path, "latin1");
    return read.trimEnd().endsWith("+++") && read;
  });
  return text.split("\n");
}

const hexOf = (text: string) =>
  [...Buffer.from(text)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");

/** A store of what is left after the power went has all of `acknowledged`, and nothing that is not whole. */
async function check(disk: TracedDisk, directory: string, acknowledged: ReadonlySet<string>) {
  for (const names of ["synced", "all"] as const) {
    const dataDir = join(directory, `${names}-${crypto.randomUUID()}`);
    await mkdir(dataDir);
    await disk.lose(dataDir, names);
    const config: StoreConfig = loadConfig("store", storeConfig, {
      flags: settings(dataDir),
      environment: {},
    });
    await rebuildStore(config, silentLog);
    await using store = await start(config, { log: silentLog });
    const present = new Set<string>();
    for (const { name } of await store.buckets.list()) {
      for (const { key } of (await store.objects.list({ bucket: name })).objects) {
        present.add(key);
        const pieces: Buffer[] = [];
        const { body } = await store.objects.open({ bucket: name, key }, never);
        for await (const piece of body) pieces.push(Buffer.from(piece));
        expect(Buffer.concat(pieces).equals(bytesOf(key))).toBe(true);
      }
    }
    for (const key of acknowledged) expect({ key, there: present.has(key) }).toEqual({ key, there: true }); // prettier-ignore
    await rm(dataDir, { recursive: true });
  }
}

test(
  "whenever the power goes, what was acknowledged is whole, and names come after their bytes",
  async () => {
    const directory = await mkdtemp(join(tmpdir(), "spear-power-"));
    try {
      const lines = await trace(directory);
      const disk = new TracedDisk(join(directory, "data"));
      const puts: string[] = [];
      const acks = lines.filter((line) => line.includes(hexOf('"sizeBytes":'))).length;
      expect(acks).toBeGreaterThan(40);
      const every = Math.max(1, Math.floor(acks / points));
      // Serials that a client deletes again are gone or there.
      const kept = () => puts.filter((key) => Number(key.split("-")[1]) % 3 !== 0);
      for (const line of lines) {
        const sent = disk.line(line)?.toString() ?? "";
        const key = sent.startsWith("HTTP/1.1 200") ? /"key":"([^"]+)"/.exec(sent)?.[1] : undefined;
        if (key === undefined) continue;
        puts.push(key);
        if (puts.length % every === 0) await check(disk, directory, new Set(kept()));
      }
      expect(puts.length).toBe(48);
      await check(disk, directory, new Set(kept()));
      expect(disk.early).toEqual([]);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
  timeoutMs,
);
