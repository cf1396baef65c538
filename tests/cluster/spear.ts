/** The command `spear` as a user runs it, and a cluster of `spear dev` in a fresh directory. */
import { readlinkSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const repository = resolve(import.meta.dir, "../..");
const main = join(repository, "apps/cli/src/main.ts");
const pollMs = 25;

/**
 * The command line that runs the CLI with these arguments: from source, or the
 * executable that `SPEAR_TEST_EXECUTABLE` names.
 */
export function spearCommand(...args: string[]): string[] {
  const executable = process.env["SPEAR_TEST_EXECUTABLE"];
  if (executable !== undefined) return [executable, ...args];
  return [process.execPath, "--no-env-file", main, ...args];
}

/**
 * Our environment and more. Bun's test runner hands down a wish that children die
 * with their parent at once; what we try here is how they do it by themselves.
 */
export function environment(more: Readonly<Record<string, string>> = {}) {
  return { ...process.env, BUN_FEATURE_FLAG_NO_ORPHANS: undefined, ...more };
}

/** Waits until `condition` gives something; gives up after `withinMs`, naming what it waited for. */
export async function until<T>(
  what: string,
  condition: () => T | undefined | Promise<T | undefined>,
  withinMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = await condition();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms for ${what}`);
    await Bun.sleep(pollMs);
  }
}

export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

export interface SpearOptions {
  env?: Readonly<Record<string, string>>;
  stdin?: string | Blob;
  cwd?: string;
}

/** Runs the CLI to its end. */
export async function spear(args: string[], options: SpearOptions = {}): Promise<Ended> {
  const child = Bun.spawn(spearCommand(...args), {
    env: environment(options.env),
    cwd: options.cwd ?? repository,
    stdin: options.stdin === undefined ? "ignore" : new Blob([options.stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

/** Runs the CLI in a terminal of its own; what that shows is gathered. */
export function inTerminal(env: Readonly<Record<string, string>>, ...args: string[]) {
  let shown = "";
  const decoder = new TextDecoder();
  const child = Bun.spawn(spearCommand(...args), {
    env: environment({ ...env, TERM: "xterm" }),
    terminal: {
      cols: 120,
      rows: 40,
      data: (_, bytes) => {
        shown += decoder.decode(bytes, { stream: true });
      },
    },
  });
  return {
    shown: () => shown,
    type: (text: string) => void child.terminal?.write(text),
    exited: child.exited,
  };
}

/** Processes whose command line or working directory holds `text`, zombies left out: pid → command. */
export function processesWith(text: string): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      const cwd = readlinkSync(`/proc/${pid}/cwd`);
      if (command !== "" && `${command} ${cwd}`.includes(text)) found.set(pid, command);
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

export interface Dev extends AsyncDisposable {
  readonly directory: string;
  readonly pid: number;
  /** Environment in which the CLI finds the cluster. */
  readonly env: Readonly<Record<string, string>>;
  /** What it wrote so far. */
  readonly said: () => string;
  /** Resolves with how it ended: an exit code, or 128 and the signal's number. */
  readonly exited: Promise<number>;
  kill(signal: NodeJS.Signals): void;
  /** Runs the CLI against it. */
  spear(args: string[], options?: SpearOptions): Promise<Ended>;
}

interface Addresses {
  sms: { http: string };
  store: { http: string };
}

/** Starts `spear dev` on free ports; resolves when it says that it is ready. */
export async function startDev(
  args: string[],
  directory?: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Dev> {
  const dataDir = directory ?? (await mkdtemp(join(tmpdir(), "spear-dev-")));
  const child = Bun.spawn(
    spearCommand("dev", "--listen", "127.0.0.1:0", "--data-dir", dataDir, ...args),
    {
      env: environment(env),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  let said = "";
  const gather = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const bytes of stream) said += decoder.decode(bytes, { stream: true });
  };
  const gathered = Promise.all([gather(child.stdout), gather(child.stderr)]);
  const exited = child.exited;
  const dispose = async () => {
    child.kill("SIGTERM");
    await exited;
    await gathered;
    if (directory === undefined) await rm(dataDir, { recursive: true, force: true });
  };
  try {
    await until("spear dev to be ready", () => {
      if (child.exitCode !== null) throw new Error("spear dev ended");
      return said.includes("Try in another terminal") || undefined;
    });
  } catch (error) {
    await dispose();
    throw new Error(`${(error as Error).message}; it said\n${said}`, { cause: error });
  }
  const { sms, store } = JSON.parse(
    await readFile(join(dataDir, "cluster.json"), "utf8"),
  ) as Addresses;
  const found = {
    SPEAR_ADDRESS: `http://${sms.http}`,
    SPEAR_STORE_ADDRESS: `http://${store.http}`,
  };
  return {
    directory: dataDir,
    pid: child.pid,
    env: found,
    said: () => said,
    exited,
    kill: (signal) => child.kill(signal),
    spear: (more, options = {}) => spear(more, { ...options, env: { ...found, ...options.env } }),
    [Symbol.asyncDispose]: dispose,
  };
}
