/**
 * The Object Store's rates over HTTP, durable, each against what the machine itself
 * can do in the same run. Rounds alternate, so that a machine whose speed drifts
 * drifts for both; medians are quoted, and the median of the rounds' ratios.
 */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hashOf } from "@spear/store/chunks/chunk.ts";
import { Program } from "../tests/programs.ts";
import { startRedis } from "../tests/redis.ts";
import { type How, type Measure, median } from "./measure.ts";

const block = 8 << 20;
const smallBytes = 4 << 10;
const streams = 8;
const mostMemoryBytes = 300 << 20;

interface Rate {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
}

/** Bytes a second in GB, of `bytes` that took as long as `work`. */
async function gigabytes(bytes: number, work: () => unknown): Promise<number> {
  const startMs = performance.now();
  await work();
  return bytes / ((performance.now() - startMs) * 1e6);
}

async function output(argv: string[]): Promise<string> {
  const child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [text, error] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`${argv[0]} failed: ${error}`);
  return text;
}

async function clients(...argv: (string | number)[]): Promise<Rate> {
  const script = join(import.meta.dir, "store-client.ts");
  return JSON.parse(await output([process.execPath, script, ...argv.map(String)])) as Rate;
}

/** A file no two of whose chunks are alike, nor like those of another round. */
async function writeSource(path: string, bytes: number, round: number): Promise<void> {
  await using file = await open(path, "w");
  const piece = Buffer.alloc(block);
  for (let at = 0; at < block; at += 4) piece.writeUInt32LE((at * 2654435761) % 2 ** 32, at);
  for (let at = 0; at < bytes; at += block) {
    piece.write(`${round}/${at}`, 0);
    await file.write(piece);
  }
}

async function drain(url: string): Promise<void> {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  for await (const piece of answer.body ?? []) void piece;
}

/** Small files a second, each synced and its name too, by as many writers at once. */
async function filePerObject(directory: string, writers: number, seconds: number): Promise<number> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  await using names = await open(directory, "r");
  const body = Buffer.alloc(smallBytes, 0x61);
  const endMs = performance.now() + seconds * 1_000;
  let written = 0;
  const writer = async (number: number) => {
    for (let serial = 0; performance.now() < endMs; serial++) {
      const file = await open(join(directory, `${number}-${serial}`), "wx");
      await file.write(body);
      await file.sync();
      await file.close();
      await names.sync();
      written++;
    }
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: writers }, (_, number) => writer(number)));
  return written / ((performance.now() - startMs) / 1_000);
}

/** How often a number of each round is that of a baseline of the same round. */
function ratioOf(ours: readonly number[], baseline: readonly number[]): number {
  return median(ours.map((value, index) => value / (baseline[index] ?? Number.NaN)));
}

export async function run({ short }: How): Promise<Measure[]> {
  const bytes = short ? 128 << 20 : 1 << 30;
  const seconds = short ? 1 : 4;
  const rounds = short ? 1 : 5;
  await using resources = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "spear-bench-"));
  resources.defer(() => rm(directory, { recursive: true, force: true }));
  const redis = resources.use(await startRedis());
  const flags = {
    redisUrl: redis.url,
    dataDir: join(directory, "store"),
    httpListen: "127.0.0.1:0",
    grpcListen: "127.0.0.1:0",
    graceMs: 0,
    logLevel: "warn",
  };
  const store = resources.use(await new Program("store", { flags }).start());
  const source = join(directory, "source");
  const bucket = `http://${store.http}/v1/buckets/bench`;
  await fetch(bucket, { method: "PUT" });
  const baseline = Bun.spawn(
    [process.execPath, join(import.meta.dir, "store-baseline.ts"), source],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  );
  resources.defer(() => baseline.kill());
  const reader = baseline.stdout.getReader();
  const { value: line } = await reader.read();
  const bare = new TextDecoder().decode(line).trim();

  const chunk = Buffer.alloc(block, 1);
  const hashed = 128 << 20;
  const hash = (work: (bytes: Buffer) => unknown) =>
    gigabytes(hashed, () => {
      for (let at = 0; at < hashed; at += block) work(chunk);
    });
  const puts: number[] = [];
  const putLimits: number[] = [];
  const gets: number[] = [];
  const getLimits: number[] = [];
  const manyGets: number[] = [];
  const manyLimits: number[] = [];
  for (let round = 0; round < rounds; round++) {
    await writeSource(source, bytes, round);
    const sha256 = createHash("sha256");
    const hashRate = await hash((one) => sha256.update(one));
    const verifyRate = await hash(hashOf);
    const copy = join(directory, "dd");
    const dd = await gigabytes(bytes, () =>
      output(["dd", "if=/dev/zero", `of=${copy}`, "bs=8M", `count=${bytes / block}`, "conv=fsync"]),
    );
    await rm(copy);
    putLimits.push(Math.min(dd, hashRate));
    const object = `${bucket}/objects/large`;
    puts.push(
      await gigabytes(bytes, async () => {
        const answer = await fetch(object, { method: "PUT", body: Bun.file(source) });
        if (!answer.ok) throw new Error(await answer.text());
      }),
    );
    const served = await gigabytes(bytes, () => drain(`http://${bare}/file`));
    getLimits.push(Math.min(served, verifyRate));
    gets.push(await gigabytes(bytes, () => drain(object)));
    const all = (url: string) =>
      gigabytes(bytes * streams, () =>
        Promise.all(Array.from({ length: streams }, () => drain(url))),
      );
    manyLimits.push(Math.min(await all(`http://${bare}/file`), verifyRate));
    manyGets.push(await all(object));
  }
  const gigabyteRate = (name: string, ours: number[], limits: number[], by: string): Measure => ({
    name,
    unit: "GB/s",
    ours: median(ours),
    baseline: median(limits),
    baselineName: by,
    ratio: ratioOf(ours, limits),
  });
  const size = `${bytes >> 20} MiB`;
  const measures = [
    gigabyteRate(`put of ${size}`, puts, putLimits, "slower of dd with fsync, SHA-256"),
    gigabyteRate(`get of ${size}`, gets, getLimits, "slower of Bun.file, BLAKE3"),
    gigabyteRate(`${streams} gets at once`, manyGets, manyLimits, "slower of Bun.file, BLAKE3"),
  ];

  const small = async (
    name: string,
    baselineName: string,
    ours: () => Promise<Rate>,
    theirs: () => Promise<number>,
  ) => {
    const rates: Rate[] = [];
    const limits: number[] = [];
    for (let round = 0; round < rounds; round++) {
      limits.push(await theirs());
      rates.push(await ours());
    }
    const perSecond = rates.map((rate) => rate.perSecond);
    measures.push({
      name,
      unit: "/s",
      ours: median(perSecond),
      baseline: median(limits),
      baselineName,
      ratio: ratioOf(perSecond, limits),
      p50Ms: median(rates.map(({ p50Ms }) => p50Ms)),
      p99Ms: median(rates.map(({ p99Ms }) => p99Ms)),
    });
  };
  const path = "/v1/buckets/bench/objects/";
  for (const writers of [32, 128]) {
    await small(
      `4 KiB puts, ${writers} clients`,
      "file each, synced",
      () => clients("put", store.http, path, writers, seconds, smallBytes),
      () => filePerObject(join(directory, "files"), writers, seconds),
    );
  }
  await fetch(`${bucket}/objects/small`, { method: "PUT", body: Buffer.alloc(smallBytes) });
  await small(
    "4 KiB gets, 32 clients",
    "bare Elysia route",
    () => clients("get", store.http, `${path}small`, 32, seconds),
    async () => (await clients("get", bare, "/small", 32, seconds)).perSecond,
  );
  const status = await readFile(`/proc/${store.pid}/status`, "utf8");
  const peak = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  measures.push({
    name: "memory of the Store through all of it",
    unit: "MiB",
    ours: peak / 2 ** 20,
    baseline: mostMemoryBytes / 2 ** 20,
    baselineName: "budget",
    ratio: peak / mostMemoryBytes,
  });
  return measures;
}
