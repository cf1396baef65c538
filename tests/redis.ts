/** A redis-server of one's own: an empty one on a free port, gone when disposed. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";

export interface TestRedis extends AsyncDisposable {
  /** As `redis://127.0.0.1:41234`. */
  readonly url: string;
  readonly pid: number;
}

const configuration = join(import.meta.dir, "../infra/redis.conf");
const tries = 5;

async function freePort(): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const server = createServer().once("error", reject);
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo;
    server.close(() => resolve(port));
  });
  return promise;
}

/** Resolves with true once the server answers, with false if it ended instead. */
async function answers(url: string, ended: Promise<unknown>): Promise<boolean> {
  const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 20 });
  redis.on("error", () => undefined);
  try {
    return await Promise.race([redis.ping().then(() => true), ended.then(() => false)]);
  } finally {
    redis.disconnect();
  }
}

/** Starts redis-server with the supported configuration and its data in a fresh directory. */
export async function startRedis(): Promise<TestRedis> {
  const program = Bun.which("redis-server");
  if (program === null) throw new Error("redis-server is not installed; scripts/test installs it");
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const directory = await mkdtemp(join(tmpdir(), "spear-redis-"));
    const child = Bun.spawn(
      [program, configuration, "--bind", "127.0.0.1", "--port", String(port), "--dir", directory],
      { stdin: "ignore", stdout: Bun.file(join(directory, "log")), stderr: "ignore" },
    );
    const stop = async () => {
      child.kill("SIGKILL");
      await child.exited;
      await rm(directory, { recursive: true, force: true });
    };
    const url = `redis://127.0.0.1:${port}`;
    if (await answers(url, child.exited)) {
      return { url, pid: child.pid, [Symbol.asyncDispose]: stop };
    }
    await stop();
    if (attempt === tries) throw new Error("redis-server did not start");
  }
}
