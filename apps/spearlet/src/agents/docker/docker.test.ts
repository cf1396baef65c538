import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { docker, sharedDocker, type TestDocker } from "../../../../../tests/docker.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import type { AgentExit, RunningAttempt } from "../agent.ts";
import { containerName, nodeLabel } from "./container.ts";
import { DockerAgent } from "./docker.ts";
import { newAttempt, type AttemptOptions, type MemorySink } from "./testing.ts";

const nodeId = systemIds.next("node");
const never = new AbortController().signal;
const workDirs: string[] = [];
let engine: TestDocker;
let agent: DockerAgent;

beforeAll(async () => {
  engine = await sharedDocker();
  agent = new DockerAgent({ nodeId, socketPath: engine.socketPath, log: silentLog });
});

afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  for (const dir of workDirs) await rm(dir, { recursive: true });
  expect(await containersOf(nodeId)).toBe("");
  expect(await groups()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const containersOf = (node: string) =>
  docker(engine.socketPath, "ps", "-aq", "--filter", `label=${nodeLabel}=${node}`);

const tasks = new Set<string>();

/** Control groups that this file's containers left behind. */
async function groups(): Promise<string[]> {
  const names = await readdir("/sys/fs/cgroup", { recursive: true });
  return names.filter((name) => tasks.has(/spear-(task_\w+)-\d+$/.exec(name)?.[1] ?? ""));
}

async function attempt(command: string[], options?: AttemptOptions) {
  const context = await newAttempt(engine.image, command, options);
  workDirs.push(context.workDir);
  tasks.add(context.taskId);
  return context;
}

const shell = (script: string, options?: AttemptOptions) => attempt(["sh", "-c", script], options);

interface Result {
  exit: AgentExit;
  stdout: string;
  stderr: string;
}

/** Runs an attempt to its end; `during` may act on it while it runs. */
async function run(
  context: Awaited<ReturnType<typeof attempt>>,
  during?: (running: RunningAttempt, output: MemorySink) => Promise<void>,
): Promise<Result> {
  const prepared = await agent.prepare(context, never);
  try {
    const running = await prepared.start();
    await during?.(running, context.output);
    const exit = await running.exit;
    return { exit, stdout: context.output.text("stdout"), stderr: context.output.text("stderr") };
  } finally {
    await prepared.cleanup();
    await prepared.cleanup();
  }
}

test("the engine's version is offered", async () => {
  expect(await agent.probe()).toMatch(/^\d+\.\d+/);
});

test("a command reads its input and its files, and both streams and its code come back", async () => {
  const context = await shell("pwd; cat; cat in.txt; echo oops >&2; echo out >out.txt; exit 7", {
    stdin: "from stdin\n",
  });
  await writeFile(join(context.workDir, "in.txt"), "from a file\n");
  const { exit, stdout, stderr } = await run(context);
  expect(stdout).toBe("/work\nfrom stdin\nfrom a file\n");
  expect(stderr).toBe("oops\n");
  expect(exit.exitCode).toBe(7);
  expect(exit).not.toContainAnyKeys(["signal", "failure"]);
  expect(await readFile(join(context.workDir, "out.txt"), "utf8")).toBe("out\n");
});

test("the container is named and labelled by task, attempt and node", async () => {
  const context = await shell("cat", { attempt: 3 });
  const prepared = await agent.prepare(context, never);
  const format =
    '{{.Name}} {{index .Config.Labels "spear.task"}} {{index .Config.Labels "spear.attempt"}} {{index .Config.Labels "spear.node"}}';
  const name = containerName(context);
  const said = await docker(engine.socketPath, "inspect", "--format", format, name);
  expect(said).toBe(`/spear-${context.taskId}-3 ${context.taskId} 3 ${nodeId}`);
  await prepared.cleanup();
});

test("the environment is what was given and what no command can do without", async () => {
  const env = { PLAIN: "1", ODD: "a b=c\n'\"$x", EMPTY: "" };
  const { stdout } = await run(await attempt(["env", "-0"], { env }));
  const given = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const variables = stdout.split("\0").filter((variable) => variable !== "");
  expect(variables).toEqual(expect.arrayContaining(given));
  const others = variables.filter((variable) => !given.includes(variable));
  expect(others.map((variable) => variable.split("=")[0]).toSorted()).toEqual([
    "HOME",
    "HOSTNAME",
    "PATH",
  ]);
});

test("every byte of output arrives, whatever it means, and waits for a slow sink", async () => {
  const size = 48 * 1024 * 1024;
  const context = await shell(`cat noise; head -c ${size} /dev/zero; touch done; printf end >&2`);
  const noise = crypto.getRandomValues(Buffer.alloc(65_536));
  await writeFile(join(context.workDir, "noise"), noise);
  const gate = Promise.withResolvers<void>();
  const seen = { stdout: 0, stderr: 0, system: 0 };
  const start: Uint8Array[] = [];
  const isDone = () =>
    stat(join(context.workDir, "done")).then(
      () => true,
      () => false,
    );
  const output = {
    write: async (stream: keyof typeof seen, bytes: Uint8Array) => {
      if (seen.stdout < noise.byteLength) start.push(Uint8Array.from(bytes));
      seen[stream] += bytes.byteLength;
      await gate.promise;
    },
  };
  const prepared = await agent.prepare({ ...context, output }, never);
  const running = await prepared.start();
  // Long enough for the command to write it all, if it could.
  await run(await shell(`head -c ${size} /dev/zero >/dev/null`));
  expect(await isDone()).toBe(false);
  expect(seen.stdout).toBeLessThan(1024 * 1024);
  gate.resolve();
  expect((await running.exit).exitCode).toBe(0);
  await prepared.cleanup();
  expect(seen).toEqual({ stdout: noise.byteLength + size, stderr: 3, system: 0 });
  expect(Buffer.concat(start).subarray(0, noise.byteLength).equals(noise)).toBe(true);
});

test("a sink that can't keep the output ends the command, and nothing stays", async () => {
  const context = await shell("while :; do echo more; done");
  const output = { write: () => Promise.reject(new Error("no space left")) };
  const prepared = await agent.prepare({ ...context, output }, never);
  const running = await prepared.start();
  await expect(running.exit).rejects.toThrow("output can't be kept");
  await prepared.cleanup();
});

describe.concurrent("limits", () => {
  test("too much memory is told apart, with what it took", async () => {
    const memoryBytes = 16 * 1024 * 1024;
    const limits = { cpu: 1, memoryBytes, pids: undefined };
    const { exit } = await run(await shell("x=a; while :; do x=$x$x; done", { limits }));
    expect(exit.failure).toEqual({
      code: "out_of_memory",
      message: `it needed more than its limit of ${memoryBytes} bytes of memory`,
    });
    expect(exit.signal).toBe("SIGKILL");
    expect(exit.usage.maxMemoryBytes).toBeGreaterThanOrEqual(memoryBytes);
  });

  test("a fork bomb ends at the limit of processes", async () => {
    const limits = { cpu: 1, memoryBytes: 64 * 1024 * 1024, pids: 20 };
    const { exit, stderr } = await run(await shell("while :; do sleep 1000 & done", { limits }));
    expect(exit.exitCode).not.toBe(0);
    expect(stderr).toContain("can't fork");
  });

  test("CPU and memory limits stand in the control group, and there is no swap", async () => {
    const limits = { cpu: 0.25, memoryBytes: 100 * 1024 * 1024, pids: 20 };
    const { stdout } = await run(
      await shell(
        `cd /sys/fs/cgroup
         cat cpu.max 2>/dev/null || echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us)
         cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes
         cat pids.max 2>/dev/null || cat pids/pids.max
         cat memory.swap.max 2>/dev/null || cat memory/memory.memsw.limit_in_bytes`,
        { limits },
      ),
    );
    const [cpu, memory, pids, swap] = stdout.trim().split("\n");
    expect([cpu, memory, pids]).toEqual(["25000 100000", "104857600", "20"]);
    // Version 1 counts memory and swap together.
    expect(["0", "104857600"]).toContain(swap ?? "");
  });

  test("what it used is known after the end, however short it was", async () => {
    const { exit } = await run(await shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"));
    expect(exit.usage.cpuMs).toBeGreaterThan(20);
    expect(exit.usage.maxMemoryBytes).toBeGreaterThan(100_000);
  });
});

describe.concurrent("confinement", () => {
  test("no capabilities, no new privileges, system calls filtered, no mounts but its own", async () => {
    const { stdout } = await run(
      await shell(
        `grep -E '^(Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status
         mount -t tmpfs none /mnt 2>&1; chroot / true 2>&1
         grep -v -E ' /(proc|sys|dev)[/ ]' /proc/mounts | cut -d' ' -f2 | grep -v /etc/ | sort`,
      ),
    );
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.trim().replace(/\s+/g, " ")),
    ).toEqual([
      ...["CapPrm", "CapEff", "CapBnd", "CapAmb"].map((set) => `${set}: 0000000000000000`),
      "NoNewPrivs: 1",
      "Seccomp: 2",
      "mount: permission denied (are you root?)",
      "chroot: can't change root directory to '/': Operation not permitted",
      "/",
      "/sbin/docker-init",
      "/tmp",
      "/work",
    ]);
  });

  test("no network by default: nothing that listens on the node is reached", async () => {
    using server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const probe = `ls /sys/class/net; nc -w 2 127.0.0.1 ${server.port} </dev/null && echo reached`;
    const { stdout } = await run(await shell(probe));
    expect(stdout).toBe("lo\n");
  });

  test("a network that the node allows is there, another is an error", async () => {
    const { stdout } = await run(
      await shell("ls /sys/class/net", { docker: { network: "bridge" } }),
    );
    expect(stdout.trim().split("\n").toSorted()).toEqual(["eth0", "lo"]);

    const host = await shell("true", { docker: { network: "host" } });
    await expect(agent.prepare(host, never)).rejects.toMatchObject({
      failure: {
        code: "network_not_allowed",
        message: "the node does not allow the network host, but none, bridge",
      },
    });
  });

  test("no path leads out of the container", async () => {
    const context = await shell(
      `for way in secret "$SECRET" "../..$SECRET" "/proc/1/root$SECRET" "/proc/self/cwd/../$SECRET"
       do cat "$way" && echo escaped; done`,
    );
    const secret = `${context.workDir}/../${context.taskId}`;
    await writeFile(secret, "secret");
    await symlink(secret, join(context.workDir, "secret"));
    const { stdout, stderr } = await run({ ...context, env: { SECRET: secret } });
    await rm(secret);
    expect(stdout).toBe("");
    expect(stderr.trim().split("\n")).toHaveLength(5);
  });

  test("a read-only root leaves the work directory and /tmp", async () => {
    const { stdout } = await run(
      await shell("for d in / /bin /work /tmp; do touch $d/x 2>/dev/null && echo $d; done", {
        docker: { readOnly: true },
      }),
    );
    expect(stdout).toBe("/work\n/tmp\n");
  });

  test("another user reads the inputs and writes the outputs", async () => {
    const context = await shell(
      "id -u; cat deep/in; echo x >>deep/in; echo y >deep/out; deep/run",
      {
        docker: { user: "1234" },
      },
    );
    await mkdir(join(context.workDir, "deep"), { mode: 0o700 });
    await writeFile(join(context.workDir, "deep/in"), "in\n", { mode: 0o600 });
    await writeFile(join(context.workDir, "deep/run"), "#!/bin/sh\necho ran\n", { mode: 0o700 });
    const { stdout, stderr } = await run(context);
    expect([stdout, stderr]).toEqual(["1234\nin\nran\n", ""]);
    expect(await readFile(join(context.workDir, "deep/out"), "utf8")).toBe("y\n");
  });

  test("an unknown user is an error in the engine's words", async () => {
    const context = await shell("true", { docker: { user: "nobody-here" } });
    await expect(run(context)).rejects.toMatchObject({
      failure: {
        code: "container_refused",
        message: expect.stringContaining("unable to find user nobody-here"),
      },
      nodeFault: false,
    });
  });
});

describe.concurrent("bad commands", () => {
  test("one that is not there, and one that can't be executed", async () => {
    const missing = await run(await attempt(["no-such-command", "x"]));
    expect(missing.exit).toMatchObject({
      exitCode: 127,
      failure: {
        code: "command_not_found",
        message: "can't run no-such-command in the container: No such file or directory",
      },
    });
    const directory = await run(await attempt(["/bin"]));
    expect(directory.exit).toMatchObject({
      exitCode: 126,
      failure: { code: "command_not_executable" },
    });
  });

  test("a shell that does not find its own command is no such failure", async () => {
    const { exit, stderr } = await run(await shell("no-such-command"));
    expect(exit.exitCode).toBe(127);
    expect(exit.failure).toBeUndefined();
    expect(stderr).toContain("no-such-command: not found");
  });
});

describe.concurrent("the end", () => {
  test("SIGTERM first: a command that handles it ends by itself", async () => {
    const script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    const { exit, stdout } = await run(await shell(script), async (running, output) => {
      await output.holds("stdout", "ready");
      await running.stop(30_000);
    });
    expect(stdout).toBe("ready\nbye\n");
    expect(exit.exitCode).toBe(5);
  });

  test("then SIGKILL of the whole tree, also of what made a session of its own", async () => {
    const marker = `1${Math.floor(Math.random() * 1e9)}`;
    const script = `trap '' TERM; setsid sleep ${marker} & echo ready; while :; do sleep 0.05; done`;
    const { exit } = await run(await shell(script), async (running, output) => {
      await output.holds("stdout", "ready");
      expect(await pidsOf(marker)).toHaveLength(1);
      await running.stop(50);
    });
    expect(exit.signal).toBe("SIGKILL");
    expect(exit.failure).toBeUndefined();
    expect(await pidsOf(marker)).toEqual([]);
  });

  test("what it leaves in the background ends with it", async () => {
    const marker = `1${Math.floor(Math.random() * 1e9)}`;
    const { exit } = await run(await shell(`setsid sleep ${marker} & exit 0`));
    expect(exit.exitCode).toBe(0);
    expect(await pidsOf(marker)).toEqual([]);
  });

  test("a signal that ended the command is named", async () => {
    const { exit } = await run(await shell("kill -USR1 $$"));
    expect(exit).toMatchObject({ signal: "SIGUSR1" });
    expect(exit.exitCode).toBeUndefined();
  });

  test("an orphan is reaped, and no zombie piles up", async () => {
    const script = "(sleep 0.01 &); while ps -o comm | grep -q sleep; do :; done; echo gone";
    const { stdout } = await run(await shell(script));
    expect(stdout).toBe("gone\n");
  });
});

/** Processes of this machine whose command line holds the text. */
async function pidsOf(text: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (line.startsWith(`sleep\0${text}`)) found.push(pid);
  }
  return found;
}

describe("preparing", () => {
  test("an image that is not there and may not be pulled", async () => {
    const docker = { image: "no.such.host/image", pull: "never" } as const;
    await expect(agent.prepare(await shell("true", { docker }), never)).rejects.toMatchObject({
      failure: {
        code: "image_not_found",
        message:
          "there is no image no.such.host/image:latest on the node, and its pull policy is never",
      },
    });
  });

  test("an image without a command needs one", async () => {
    const context = await attempt([]);
    // The image's own command is a shell, which ends at the end of its empty input.
    expect((await run(context)).exit.exitCode).toBe(0);
  });

  test("a cancelled attempt leaves no container", async () => {
    const context = await shell("true");
    const preparing = agent.prepare(context, AbortSignal.abort(new Error("cancelled")));
    await expect(preparing).rejects.toThrow("cancelled");
    expect(await containersOf(nodeId)).toBe("");
  });

  test("what an earlier run left of the same attempt gives way, another node's does not", async () => {
    const context = await shell("echo done");
    const options = { socketPath: engine.socketPath, log: silentLog };
    const earlier = new DockerAgent({ nodeId, ...options });
    await earlier.prepare(context, never);
    expect((await run(context)).stdout).toBe("done\n");

    const otherId = systemIds.next("node");
    const other = new DockerAgent({ nodeId: otherId, ...options });
    const prepared = await other.prepare(context, never);
    await expect(agent.prepare(context, never)).rejects.toMatchObject({
      failure: { code: "container_refused", message: expect.stringContaining("already in use") },
    });
    await prepared.cleanup();
    expect(await containersOf(otherId)).toBe("");
  });
});
