/**
 * The programs of a cluster as real processes, for tests and benchmarks: started on
 * free ports, ended with everything they left when disposed.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startRedis, type TestRedis } from "./redis.ts";

const root = join(import.meta.dir, "..");
const readyMs = 60_000;

export interface ProgramOptions {
  /** Flags by property name, as {leaseMs: 500}. */
  flags?: Readonly<Record<string, string | number | boolean>>;
  environment?: Readonly<Record<string, string>>;
  /** Put before the command, as ["ip", "netns", "exec", "a"]. */
  wrapper?: readonly string[];
}

function flagsOf(flags: ProgramOptions["flags"]): string[] {
  return Object.entries(flags ?? {}).map(([property, value]) => {
    const flag = property.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return value === true ? `--${flag}` : `--${flag}=${value}`;
  });
}

/** A program that runs; disposing kills it. */
export class Program implements AsyncDisposable {
  readonly name: "sms" | "spearlet" | "store";
  readonly #argv: string[];
  readonly #environment: Record<string, string>;
  #child: Bun.Subprocess<"ignore", "pipe", "pipe"> | undefined;
  #log: Promise<string> = Promise.resolve("");
  /** Listeners, once it is ready. */
  http = "";
  grpc = "";

  constructor(name: Program["name"], options: ProgramOptions) {
    this.name = name;
    this.#argv = [
      ...(options.wrapper ?? []),
      process.execPath,
      join(root, "apps", name, "src/main.ts"),
      ...flagsOf(options.flags),
    ];
    this.#environment = { PATH: process.env["PATH"] ?? "", ...options.environment };
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get running(): boolean {
    return (
      this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
    );
  }

  /** Starts it and waits until it says that it is ready. */
  async start(): Promise<this> {
    const child = Bun.spawn(this.#argv, {
      env: this.#environment,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      lazy: true,
    });
    this.#child = child;
    this.#log = lastOf(child.stderr);
    const ready = await Promise.race([
      readyLine(child.stdout),
      Bun.sleep(readyMs).then(() => undefined),
    ]);
    if (ready === undefined) {
      child.kill("SIGKILL");
      throw new Error(`${this.name} did not become ready:\n${await this.#log}`);
    }
    this.http = ready.http;
    this.grpc = ready.grpc;
    return this;
  }

  /** Starts it again where it listened before, as a service manager would. */
  restartAt(http: string, grpc: string): Promise<this> {
    this.#argv.push(`--http-listen=${http}`, `--grpc-listen=${grpc}`);
    return this.start();
  }

  /** Sends a signal and, if it ends the process, waits for the end. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    this.#child?.kill(signal);
    if (signal !== "SIGSTOP" && signal !== "SIGCONT") await this.#child?.exited;
  }

  /** What it logged, once it has ended. */
  log(): Promise<string> {
    return this.#log;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.running) return;
    this.#child?.kill("SIGCONT");
    this.#child?.kill("SIGTERM");
    const ended = await Promise.race([
      this.#child?.exited,
      Bun.sleep(5_000).then(() => "late" as const),
    ]);
    if (ended === "late") await this.kill("SIGKILL");
  }
}

interface Ready {
  http: string;
  grpc: string;
}

async function readyLine(stdout: ReadableStream<Uint8Array>): Promise<Ready | undefined> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const bytes of stdout) {
    text += decoder.decode(bytes, { stream: true });
    const line = text.split("\n").find((one) => one.includes('"ready":true'));
    if (line !== undefined) return JSON.parse(line) as Ready;
    if (text.length > 65_536) break;
  }
  return undefined;
}

/** Drains a stream and keeps its last 256 KiB. */
async function lastOf(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const bytes of stream)
    text = (text + decoder.decode(bytes, { stream: true })).slice(-262_144);
  return text;
}

export interface ClusterOptions {
  nodes?: number;
  sms?: Record<string, string | number | boolean>;
  spearlet?: Record<string, string | number | boolean>;
  /** With an Object Store. */
  store?: boolean;
}

/** Redis, SMS, SPEARlets and, if asked for, an Object Store in a temporary directory. */
export class Cluster implements AsyncDisposable {
  readonly directory: string;
  readonly redis: TestRedis;
  readonly sms: Program;
  readonly store: Program | undefined;
  readonly nodes: Program[];

  readonly #resources: AsyncDisposableStack;

  private constructor(
    resources: AsyncDisposableStack,
    directory: string,
    redis: TestRedis,
    sms: Program,
    store: Program | undefined,
    nodes: Program[],
  ) {
    this.#resources = resources;
    this.directory = directory;
    this.redis = redis;
    this.sms = sms;
    this.store = store;
    this.nodes = nodes;
  }

  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    // What has started goes again if a later part does not start.
    await using resources = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), "spear-cluster-"));
    resources.defer(() => rm(directory, { recursive: true, force: true }));
    const redis = resources.use(await startRedis());
    const free = { httpListen: "127.0.0.1:0", grpcListen: "127.0.0.1:0", logLevel: "info" };
    const run = (name: Program["name"], flags: NonNullable<ProgramOptions["flags"]>) =>
      resources.use(new Program(name, { flags: { ...free, ...flags } })).start();
    const store = options.store
      ? await run("store", { redisUrl: redis.url, dataDir: join(directory, "store") })
      : undefined;
    const sms = await run("sms", {
      redisUrl: redis.url,
      ...(store === undefined ? {} : { storeUrl: `http://${store.http}` }),
      ...options.sms,
    });
    const nodes = await Promise.all(
      Array.from({ length: options.nodes ?? 1 }, (_, index) =>
        run("spearlet", {
          smsAddress: sms.grpc,
          dataDir: join(directory, `node-${index + 1}`),
          name: `node-${index + 1}`,
          ...options.spearlet,
        }),
      ),
    );
    return new Cluster(resources.move(), directory, redis, sms, store, nodes);
  }

  /** Calls SMS over REST; the parsed answer, or an error that shows the problem. */
  async api<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(`http://${this.sms.http}${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** Resolves with what `probe` gives, once it gives something; fails after `withinMs`. */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  withinMs = 30_000,
): Promise<T> {
  const end = Date.now() + withinMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`waited ${withinMs} ms in vain for: ${what}`);
    await Bun.sleep(20);
  }
}
