/** A large object goes through a real Store in constant memory. */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Program } from "../programs.ts";
import { cheapBytes } from "../store.ts";

const bytes = 1 << 30;
const mostBytes = 200 << 20;

/** The most memory that a process ever held, in bytes. */
async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

// Programs start and end here, on a machine that may be loaded.
const timeoutMs = 60_000;

test(
  "1 GiB in and out under 200 MiB of memory, with equal SHA-256",
  async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "spear-large-"));
    try {
      await using store = await new Program("store", {
        flags: {
          httpListen: "127.0.0.1:0",
          grpcListen: "127.0.0.1:0",
          redisUrl: process.env["SPEAR_TEST_REDIS"] ?? "",
          namespace: `large-${crypto.randomUUID()}`,
          dataDir,
          reserveBytes: 0,
        },
      }).start();
      const bucket = `http://${store.http}/v1/buckets/large`;
      await fetch(bucket, { method: "PUT" });
      const sent = createHash("sha256");
      const body = async function* () {
        for await (const piece of cheapBytes(bytes)) {
          sent.update(piece);
          yield piece;
        }
      };
      const put = await fetch(`${bucket}/objects/one`, { method: "PUT", body: body() });
      const sha256 = sent.digest("hex");
      expect(await put.json()).toMatchObject({ sizeBytes: bytes, sha256 });
      const got = createHash("sha256");
      const answer = await fetch(`${bucket}/objects/one`);
      for await (const piece of answer.body ?? []) got.update(piece);
      expect(got.digest("hex")).toBe(sha256);
      expect(await peakOf(store.pid)).toBeLessThan(mostBytes);
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  },
  timeoutMs,
);
