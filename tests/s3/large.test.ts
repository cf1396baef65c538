/** What is larger than the memory that the Store may take goes through S3 in pieces. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { Program } from "../programs.ts";
import { cheapBytes } from "../store.ts";
import { s3Client, type Credentials } from "./client.ts";

// A program starts and ends here, on a machine that may be loaded.
setDefaultTimeout(120_000);

const bytes = 256 << 20;
const mostBytes = 220 << 20;

/** The most memory that a process ever held, in bytes. */
async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

test("256 MiB in and out in constant memory, chunked and with a trailer", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "spear-s3-large-"));
  try {
    await using store = await new Program("store", {
      flags: {
        httpListen: "127.0.0.1:0",
        grpcListen: "127.0.0.1:0",
        redisUrl: process.env["SPEAR_TEST_REDIS"] ?? "",
        namespace: `s3-large-${crypto.randomUUID()}`,
        dataDir,
        reserveBytes: 0,
      },
    }).start();
    const url = `http://${store.http}`;
    const made = await fetch(`${url}/v1/access-keys`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    const client = s3Client(url, (await made.json()) as Credentials);
    const name = { Bucket: "large", Key: "one" };
    await client.send(new CreateBucketCommand(name));
    const sent = createHash("sha256");
    const body = async function* () {
      for await (const piece of cheapBytes(bytes)) {
        sent.update(piece);
        yield piece;
      }
    };
    await client.send(
      new PutObjectCommand({ ...name, Body: Readable.from(body()), ContentLength: bytes }),
    );
    const got = createHash("sha256");
    const { Body } = await client.send(new GetObjectCommand(name));
    for await (const piece of Body as Readable) got.update(piece as Buffer);
    expect(got.digest("hex")).toBe(sent.digest("hex"));
    expect(await peakOf(store.pid)).toBeLessThan(mostBytes);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});
