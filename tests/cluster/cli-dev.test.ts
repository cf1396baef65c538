/** The life of `spear dev`: state that stays, children that come back, nothing left behind. */
import type { Task } from "@spear/shared/task.ts";
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  environment,
  processesWith,
  spear,
  spearCommand,
  startDev,
  until,
  type Dev,
} from "./spear.ts";

// Whole clusters start here; on a loaded machine that takes its time.
setDefaultTimeout(120_000);

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-dev-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const nothingLeft = (text: string) =>
  until(`nothing of ${text} to run`, () => processesWith(text).size === 0 || undefined);

async function redisSocket(dataDir: string): Promise<string> {
  const { redisUrl } = JSON.parse(await readFile(join(dataDir, "cluster.json"), "utf8")) as {
    redisUrl: string;
  };
  return redisUrl.slice("unix://".length);
}

async function startSleeping(dev: Dev, seconds: string): Promise<void> {
  await dev.spear(["run", "-d", "--", "sleep", seconds]);
  await until("the task to run", () => processesWith(`sleep ${seconds}`).size > 0 || undefined);
}

test("a cluster keeps its state, mends itself and ends without a trace", async () => {
  // Too long for a Unix socket in it.
  const dataDir = join(directory, "d".repeat(120));
  await mkdir(dataDir);
  let kept: string;
  let socket: string;
  const keyOf = (dev: Dev) =>
    /AWS_ACCESS_KEY_ID=SPEAR\w+ AWS_SECRET_ACCESS_KEY=\S+/.exec(dev.said());
  let key: string | undefined;
  {
    await using dev = await startDev(["--nodes", "2"], dataDir);
    socket = await redisSocket(dataDir);
    key = keyOf(dev)?.[0];
    expect(key).toBeDefined();
    kept = (await dev.spear(["run", "-d", "--name", "kept", "--", "true"])).stdout.trim();
    await dev.spear(["task", "logs", "-f", kept]);

    const second = await spear(["dev", "--listen", "127.0.0.1:0", "--data-dir", dataDir]);
    expect(second.code).toBe(1);
    expect(second.stderr).toBe(
      `error: another cluster runs in ${dataDir} (process ${dev.pid})\n  stop it, or choose another --data-dir\n`,
    );

    for (const [name, part] of [
      ["redis", `unixsocket:${socket}`],
      ["node-1", "--name=node-1"],
    ] as const) {
      const [pid] = [...processesWith(dataDir)].find(([, command]) => command.includes(part)) ?? [];
      process.kill(pid ?? 0, "SIGKILL");
      await until(`${name} to run again`, () => {
        const lines = dev
          .said()
          .split("\n")
          .filter((line) => line.includes(name));
        return lines.some((line) => line.includes("runs again")) || undefined;
      });
    }
    const after = await dev.spear(["run", "--", "echo", "mended"]);
    expect(after).toMatchObject({ code: 0, stdout: "mended\n" });

    await startSleeping(dev, "16180.3");
    dev.kill("SIGTERM");
    expect(await dev.exited).toBe(0);
    expect(processesWith(dataDir)).toEqual(new Map());
    expect(processesWith("sleep 16180.3")).toEqual(new Map());
    expect(existsSync(dirname(socket))).toBe(false);
    expect(dev.said()).toContain("stopped");
  }
  {
    await using dev = await startDev(["--nodes", "2"], dataDir);
    expect(keyOf(dev)?.[0]).toBe(key);
    const { stdout } = await dev.spear(["task", "get", kept, "-o", "json"]);
    expect((JSON.parse(stdout) as Task).state).toBe("succeeded");
    socket = await redisSocket(dataDir);
    await startSleeping(dev, "14142.1");
    dev.kill("SIGKILL");
    await nothingLeft(dataDir);
    await nothingLeft("sleep 14142.1");
    await until("the socket's directory to go", () => !existsSync(dirname(socket)) || undefined);
  }
});

test("Ctrl-C in a terminal stops all in order, and hanging up does too", async () => {
  for (const end of ["\u0003", "SIGHUP"] as const) {
    let shown = "";
    const child = Bun.spawn(
      spearCommand("dev", "--listen", "127.0.0.1:0", "--data-dir", directory),
      {
        env: environment({ TERM: "xterm" }),
        terminal: { data: (_, bytes) => void (shown += Buffer.from(bytes).toString()) },
      },
    );
    await until("the cluster", () => shown.includes("Try in another terminal") || undefined);
    if (end === "SIGHUP") child.kill(end);
    else child.terminal?.write(end);
    expect(await child.exited).toBe(0);
    expect(processesWith(directory)).toEqual(new Map());
    const stopped = ["node-1", "sms", "store"].map((name) =>
      shown.split("\n").findIndex((line) => line.includes(name) && line.includes("stopping")),
    );
    expect(stopped).not.toContain(-1);
    expect(stopped).toEqual(stopped.toSorted((a, b) => a - b));
  }
});

test("a port that is taken is said, and nothing is left", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    // The Store listens 20 above SMS.
    const listen = `127.0.0.1:${port - 20}`;
    const ended = await spear(["dev", "--listen", listen, "--data-dir", directory]);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain(`error: store did not start: can't listen on 127.0.0.1:${port}`);
    expect(processesWith(directory)).toEqual(new Map());
  } finally {
    server.close();
  }
});

test("without redis-server it says how to get one", async () => {
  const ended = await spear(["dev", "--listen", "127.0.0.1:0", "--data-dir", directory], {
    env: { PATH: "/nowhere" },
  });
  expect(ended.code).toBe(1);
  expect(ended.stderr).toStartWith("error: redis-server is not installed\n");
  expect(ended.stderr).toContain("--redis redis://HOST:6379");
});

test("a Redis of one's own is used, and stays", async () => {
  const url = process.env["SPEAR_TEST_REDIS"] ?? "";
  const namespace = `dev-${crypto.randomUUID().slice(0, 8)}`;
  await using dev = await startDev(["--redis", url, "--namespace", namespace], directory);
  expect([...processesWith(directory).values()].join("\n")).not.toContain("redis-server");
  expect((await dev.spear(["run", "--", "echo", "there"])).stdout).toBe("there\n");
});

test.each([
  [["dev", "--nodes", "0"], "Write 1 to 64"],
  [["dev", "--listen", "7700"], "Write it as 127.0.0.1:7700"],
  [["dev", "--data-dir", "/dev/null/x"], "--data-dir: "],
  [["dev", "--node", "2"], "(Did you mean --nodes?)"],
  [["deb"], "(Did you mean dev?)"],
  [["task", "get", "../x"], "no task id"],
  [["run", "--memory", "lots", "--", "true"], "--memory"],
  [["run", "--image", "a", "--wasm", "b"], "cannot be used with"],
  [["run"], "no command is given"],
  [["sms", "--slots", "1"], "unknown option '--slots'"],
  [["--address", "::x", "node", "ls"], '--address: "::x" is no address'],
])("wrong usage of %p is said with exit code 2", async (args, said) => {
  const ended = await spear([...args]);
  expect(ended.stderr).toContain(said);
  expect(ended.stderr).not.toContain("    at ");
  expect(ended.code).toBe(2);
});

test("nobody at the address: one line that names it, within five seconds", async () => {
  const startedAt = performance.now();
  const env = { SPEAR_ADDRESS: "127.0.0.1:1", SPEAR_STORE_ADDRESS: "127.0.0.1:2" };
  const [sms, store, run] = await Promise.all([
    spear(["task", "ls"], { env }),
    spear(["object", "put", "-", "corpus/a"], { env, stdin: "x" }),
    spear(["run", "--", "true"], { env }),
  ]);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  for (const { code } of [sms, store, run]) expect(code).toBe(1);
  expect(sms.stderr).toStartWith("error: SMS does not answer at http://127.0.0.1:1\n");
  expect(run.stderr).toBe(sms.stderr);
  expect(store.stderr).toStartWith(
    "error: the Object Store does not answer at http://127.0.0.1:2\n",
  );
});
