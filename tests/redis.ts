/** A redis-server of one's own: an empty one on a free port, gone when disposed. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";

export interface TestRedis extends AsyncDisposable {
  /** As `redis://127.0.0.1:41234`. */
  readonly url: string;
  readonly pid: number;
  /** Kills it, as a crash would; its data stay. */
  kill(): Promise<void>;
  /** Forgets all that it has, as a disk that was lost does. */
  wipe(): Promise<void>;
  /** Starts it again with the data it had. */
  restart(): Promise<void>;
  /** Deletes its data, as a disk that is lost does; it must have been killed. */
  loseData(): Promise<void>;
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

class RedisProcess implements TestRedis {
  readonly url: string;
  readonly #directory: string;
  readonly #argv: string[];
  #child: Bun.Subprocess | undefined;

  constructor(program: string, bind: string, port: number, directory: string) {
    this.url = `redis://${bind}:${port}`;
    this.#directory = directory;
    this.#argv = [
      program, configuration, "--bind", bind, "--protected-mode", "no", "--port", String(port), "--dir", directory,
    ]; // prettier-ignore
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** False if it ended instead of answering, as when its port is taken. */
  async start(): Promise<boolean> {
    const child = Bun.spawn(this.#argv, {
      stdin: "ignore",
      stdout: Bun.file(join(this.#directory, "log")),
      stderr: "ignore",
    });
    this.#child = child;
    return answers(this.url, child.exited);
  }

  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.exited;
  }

  async wipe(): Promise<void> {
    const redis = new Redis(this.url);
    await redis.flushall();
    redis.disconnect();
  }

  async restart(): Promise<void> {
    if (!(await this.start())) throw new Error("redis-server did not start again");
  }

  async loseData(): Promise<void> {
    await rm(this.#directory, { recursive: true });
    await mkdir(this.#directory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Starts redis-server with the supported configuration and its data in a fresh directory. */
export async function startRedis(bind = "127.0.0.1"): Promise<TestRedis> {
  const program = Bun.which("redis-server");
  if (program === null) throw new Error("redis-server is not installed; scripts/test installs it");
  for (let attempt = 1; ; attempt++) {
    const directory = await mkdtemp(join(tmpdir(), "spear-redis-"));
    const redis = new RedisProcess(program, bind, await freePort(), directory);
    if (await redis.start()) return redis;
    await redis[Symbol.asyncDispose]();
    if (attempt === tries) throw new Error("redis-server did not start");
  }
}
