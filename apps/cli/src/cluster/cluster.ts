/**
 * A whole cluster on this machine: redis-server, the Object Store, SMS and some
 * SPEARlets, each its own process. Started in that order, stopped in the reverse:
 * nodes give back what they run while SMS still listens.
 */
import { systemClock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { Node } from "@spear/shared/node.ts";
import { rmSync, writeFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import { Client } from "../client.ts";
import { Child } from "./child.ts";
import { addressFile, lockDataDir } from "./lock.ts";
import { startRedis } from "./redis.ts";

const nodesReadyWithinMs = 30_000;
const pollMs = 50;
const graceMs = 10_000;

export interface ClusterOptions {
  /** Everything that the cluster keeps. */
  dataDir: string;
  /** Number of SPEARlets. */
  nodes: number;
  /** Where SMS listens; the other listeners follow from its port, and 0 means any free ones. */
  listen: { host: string; port: number };
  /** A Redis to use instead of a private one. */
  redisUrl?: string | undefined;
  namespace: string;
  /** Where spear.yaml is looked for. */
  cwd: string;
  onLine: (name: string, line: string) => void;
  onTrouble: (name: string, message: string) => void;
}

export interface Listeners {
  http: string;
  grpc: string;
}

export interface Cluster extends AsyncDisposable {
  readonly sms: Listeners;
  readonly store: Listeners;
  readonly redisUrl: string;
  /** Names of the nodes. */
  readonly nodes: readonly string[];
  /** Ends everything at once, for when nobody wants to wait. */
  kill(): void;
}

/** The command that runs one of our own subcommands; an executable is one by itself. */
function ownCommand(): string[] {
  if (Bun.main.startsWith("/$bunfs/")) return [process.execPath];
  return [process.execPath, ...process.execArgv, Bun.main];
}

/** SMS at 7700 and 7701 puts the Store at 7720 and 7721. */
function port(base: number, offset: number): number {
  return base === 0 ? 0 : base + offset;
}

/** Starts all of it and resolves when every node takes tasks. Throws `unavailable` or `conflict`. */
export async function startCluster(options: ClusterOptions, signal: AbortSignal): Promise<Cluster> {
  await using stack = new AsyncDisposableStack();
  const children: Child[] = [];
  stack.use(lockDataDir(options.dataDir));
  const addresses = join(options.dataDir, addressFile);
  stack.defer(() => rmSync(addresses, { force: true }));
  let redisUrl = options.redisUrl;
  if (redisUrl === undefined) {
    const redis = stack.use(
      await startRedis(
        {
          dataDir: options.dataDir,
          onLine: (line) => options.onLine("redis", line),
          onTrouble: (message) => options.onTrouble("redis", message),
        },
        signal,
      ),
    );
    children.push(redis.child);
    redisUrl = redis.url;
  }
  const shared = { "redis-url": redisUrl, namespace: options.namespace };
  const start = (name: string, program: string, listen: Listeners, flags: Flags) => {
    const started = startProgram(options, name, program, listen, flags);
    children.push(started.child);
    return started;
  };
  const listen = (offset: number): Listeners => {
    const { host, port: base } = options.listen;
    return { http: `${host}:${port(base, offset)}`, grpc: `${host}:${port(base, offset + 1)}` };
  };

  const store = start("store", "store", listen(20), {
    ...shared,
    "data-dir": join(options.dataDir, "store"),
  });
  stack.defer(() => store.child.stop());
  const storeAt = await ready(store, signal);

  const sms = start("sms", "sms", listen(0), { ...shared, "store-url": `http://${storeAt.http}` });
  stack.defer(() => sms.child.stop());
  const smsAt = await ready(sms, signal);

  const names = Array.from({ length: options.nodes }, (_, index) => `node-${index + 1}`);
  const nodes = names.map((name) =>
    start(name, "spearlet", anyPorts, {
      name,
      "sms-address": smsAt.grpc,
      "data-dir": join(options.dataDir, name),
      ...shareOf(options.nodes),
    }),
  );
  stack.defer(async () => {
    await Promise.all(nodes.map(({ child }) => child.stop()));
  });
  await Promise.all(nodes.map((node) => ready(node, signal)));
  await untilNodesReady(smsAt.http, names, signal);

  writeFileSync(
    addresses,
    `${JSON.stringify({ pid: process.pid, sms: smsAt, store: storeAt, redisUrl, nodes: names }, null, 2)}\n`,
  );
  const owned = stack.move();
  return {
    sms: smsAt,
    store: storeAt,
    redisUrl,
    nodes: names,
    kill: () => {
      for (const child of children) child.kill();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

type Flags = Readonly<Record<string, string | number>>;
const anyPorts: Listeners = { http: "127.0.0.1:0", grpc: "127.0.0.1:0" };

/** What one of `count` nodes on this machine offers, so that together they offer the machine. */
function shareOf(count: number): Flags {
  const memory = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
  return {
    cpu: availableParallelism() / count,
    "memory-bytes": Math.floor(memory / count),
  };
}

interface StartedProgram {
  child: Child;
  /** Where it listens, once it is ready. */
  at: () => Listeners;
}

async function ready({ child, at }: StartedProgram, signal: AbortSignal): Promise<Listeners> {
  signal.throwIfAborted();
  await child.start();
  return at();
}

function startProgram(
  options: ClusterOptions,
  name: string,
  program: string,
  listen: Listeners,
  flags: Flags,
): StartedProgram {
  let at = listen;
  const child = new Child({
    name,
    // A second start takes the ports of the first: the others know them.
    command: () => [
      ...ownCommand(),
      program,
      ...Object.entries({ ...flags, "http-listen": at.http, "grpc-listen": at.grpc }).map(
        ([flag, value]) => `--${flag}=${value}`,
      ),
    ],
    env: process.env,
    cwd: options.cwd,
    graceMs,
    onLine: (line) => options.onLine(name, line),
    onTrouble: (message) => options.onTrouble(name, message),
    ready: async (_, readyLine) => {
      at = JSON.parse(await readyLine) as Listeners;
    },
  });
  return { child, at: () => at };
}

async function untilNodesReady(
  address: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const sms = new Client({ what: "SMS", address: `http://${address}`, help: "", token: undefined });
  const deadline = Date.now() + nodesReadyWithinMs;
  for (;;) {
    const { nodes } = await sms.json<{ nodes: Node[] }>("GET", "/v1/nodes", { signal });
    const up = new Set(nodes.filter(({ state }) => state === "ready").map(({ name }) => name));
    const missing = names.filter((name) => !up.has(name));
    if (missing.length === 0) return;
    if (Date.now() > deadline) {
      throw new Fault("unavailable", `${missing.join(" and ")} did not register with SMS`, {
        help: "the log above says why",
      });
    }
    await systemClock.wait(pollMs, signal);
  }
}
