/**
 * The cluster's private redis-server: on a Unix socket that only its user can
 * reach, with the configuration that SPEAR supports. It knows no lifeline, so a
 * shell watches ours and ends it after the programs had time to end.
 */
import { systemClock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { Child } from "./child.ts";
import configuration from "../../../../infra/redis.conf" with { type: "text" };

/** `sun_path` holds 107 bytes and a NUL. */
const maxSocketBytes = 107;
const pollMs = 20;
const stopGraceMs = 15_000;
/** How long the programs have to end when we were killed, in seconds. */
const orphanGraceSeconds = 6;
/** An orphan of a killed run is gone by then. */
const orphanPatienceMs = (orphanGraceSeconds + 10) * 1_000;

const watchdog = `cat >/dev/null; sleep ${orphanGraceSeconds}; kill "$1" 2>/dev/null; test -z "$2" || rm -rf "$2"`;

export interface RedisOptions {
  dataDir: string;
  onLine: (line: string) => void;
  onTrouble: (message: string) => void;
}

/** `PID:ROLE TIME # text`. */
const isWarning = (line: string) => /^\d+:[A-Z] .*? # /.test(line);

/** Answers PING. Says nothing of why it does not. */
function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket, () => connection.write("PING\r\n"));
    connection.setTimeout(1_000, () => connection.destroy());
    let said = "";
    connection.on("data", (bytes) => {
      said += bytes.toString();
      if (said.includes("\n")) connection.destroy();
    });
    connection.on("error", () => undefined);
    connection.on("close", () => resolve(said.startsWith("+PONG")));
  });
}

/** The redis-server that a killed run of ours left in this directory, if it still runs. */
function orphan(dir: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(dir, "redis.pid"), "utf8"));
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("redis-server") ? pid : undefined;
  } catch {
    return undefined;
  }
}

async function outlive(dir: string, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + orphanPatienceMs;
  for (let pid = orphan(dir); pid !== undefined; pid = orphan(dir)) {
    if (Date.now() > deadline) {
      throw new Fault("unavailable", `redis-server ${pid} still works in ${dir}`, {
        help: `end it (kill ${pid}), or choose another --data-dir`,
      });
    }
    await systemClock.wait(100, signal);
  }
}

/** A path for the socket: in the data directory, or in a private one where that is too long. */
function socketIn(dir: string): { socket: string; temporary: string } {
  const socket = join(dir, "redis.sock");
  if (Buffer.byteLength(socket) <= maxSocketBytes) return { socket, temporary: "" };
  const temporary = mkdtempSync("/tmp/spear-");
  return { socket: join(temporary, "redis.sock"), temporary };
}

/** Starts it; resolves when it answers, with its URL. Throws `unavailable`. */
export async function startRedis(
  options: RedisOptions,
  signal: AbortSignal,
): Promise<{ url: string; child: Child } & AsyncDisposable> {
  const program = Bun.which("redis-server") ?? Bun.which("valkey-server");
  if (program === null) {
    throw new Fault("unavailable", "redis-server is not installed", {
      help: "install it (Debian: apt-get install redis-tools redis-server), or use your own with --redis redis://HOST:6379",
    });
  }
  const dir = join(options.dataDir, "redis");
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await outlive(dir, signal);
  // redis-server can't read what is inside our executable.
  const configFile = join(dir, "redis.conf");
  await writeFile(configFile, configuration);
  const { socket, temporary } = socketIn(dir);
  let guard: { kill(): void } | undefined;
  const flags = {
    dir,
    pidfile: join(dir, "redis.pid"),
    port: "0",
    unixsocket: socket,
    unixsocketperm: "700",
    daemonize: "no",
  };
  const child = new Child({
    name: "redis",
    command: () => [
      program,
      configFile,
      ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]),
    ],
    env: process.env,
    cwd: dir,
    graceMs: stopGraceMs,
    // What it says while it starts is shown only if it does not; its goodbye is no news.
    onLine: (line, phase) => {
      if (phase === "running" && isWarning(line)) options.onLine(line);
    },
    onTrouble: options.onTrouble,
    ready: async (pid, _, starting) => {
      guard?.kill();
      guard = Bun.spawn(["sh", "-c", watchdog, "sh", String(pid), temporary], {
        stdin: "pipe",
        stdout: "ignore",
        stderr: "ignore",
        detached: true,
      });
      while (!(await answers(socket))) await systemClock.wait(pollMs, starting);
    },
  });
  const dispose = async () => {
    await child.stop();
    guard?.kill();
    if (temporary !== "") rmSync(temporary, { recursive: true, force: true });
  };
  try {
    await child.start();
  } catch (error) {
    await dispose();
    throw error;
  }
  return { url: `unix://${socket}`, child, [Symbol.asyncDispose]: dispose };
}
