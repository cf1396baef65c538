import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds } from "@spear/shared/ids.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import { loadConfig } from "@spear/shared/config.ts";
import { processPolicy, spearletConfig } from "../../config.ts";
import { AgentFailure, type AttemptContext, type RunningAttempt } from "../agent.ts";
import { ProcessAgent } from "../process.ts";

const MIB = 1024 * 1024;
const nodeId = systemIds.next("node");
let dataDir: string;
let agent: ProcessAgent;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "spear-policy-"));
  await chmod(dataDir, 0o711);
  await mkdir(join(dataDir, "work"), { mode: 0o711 });
  await writeFile(join(dataDir, "journal"), "private to the node", { mode: 0o644 });
  agent = new ProcessAgent({
    nodeId,
    dataDir,
    sandboxes: ["none", "namespace"],
    hostNetwork: false,
  });
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true });
});

interface Options extends Partial<Pick<AttemptContext, "limits" | "env">> {
  spec?: Partial<TaskSpec>;
  process?: Partial<NonNullable<TaskSpec["process"]>>;
  by?: ProcessAgent;
}

/** Runs a script to its end; `during` may act on it while it runs. */
async function run(
  script: string,
  { spec, process, by = agent, limits, env = {} }: Options = {},
  during: (running: RunningAttempt) => Promise<void> = () => Promise.resolve(),
) {
  const taskId = systemIds.next("task");
  const workDir = join(dataDir, "work", taskId);
  await mkdir(workDir, { mode: 0o700 });
  const text = { stdout: "", stderr: "" };
  const prepared = await by.prepare({
    taskId,
    attempt: 1,
    spec: { process: { command: ["sh", "-c", script], ...process }, ...spec },
    workDir,
    env: { ...env, SPEAR_TASK_ID: taskId, SPEAR_ATTEMPT: "1", SPEAR_NODE_ID: nodeId },
    stdin: new Uint8Array(),
    output: {
      write: (stream, bytes) => {
        if (stream !== "system") text[stream] += Buffer.from(bytes).toString();
        return Promise.resolve();
      },
    },
    limits: limits ?? { cpu: 0, memoryBytes: 256 * MIB, pids: undefined },
  });
  try {
    const running = await prepared.start();
    await during(running);
    return { exit: await running.exit, ...text, workDir };
  } finally {
    await prepared.cleanup();
  }
}

async function refusal(options: Options): Promise<string> {
  const error: unknown = await run("true", options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof AgentFailure)) throw new Error(`not refused: ${String(error)}`);
  expect(error.nodeFault).toBe(false);
  return error.failure.code;
}

describe("a sandbox", () => {
  const boxed = (script: string, options: Options = {}) =>
    run(script, { ...options, spec: { sandbox: "namespace" } });

  test("has a work directory and an empty /tmp to write, and a read-only root", async () => {
    const { stdout, stderr, exit, workDir } = await boxed(
      'pwd; ls -A /tmp; echo a >here && echo b >/tmp/there && cat here /tmp/there "$HOME/here"; ' +
        "echo x >/usr/x || echo read-only",
    );
    expect(stdout).toBe(
      `${workDir}\n${tmpdir() === "/tmp" ? `${dataDir.slice(5)}\n` : ""}a\nb\na\nread-only\n`,
    );
    expect(stderr).toContain("Read-only file system");
    expect(exit.exitCode).toBe(0);
  });

  test("shows neither the node's directory, nor sockets, nor the users' own", async () => {
    const script = `cat ${join(dataDir, "journal")}; ls -A /run /root /home; cat /etc/shadow`;
    const { stdout, stderr } = await boxed(script);
    expect(stdout).toBe("/home:\n\n/root:\n\n/run:\n");
    expect(stderr).toContain("journal: No such file");
    expect(stderr).toContain("/etc/shadow: Permission denied");
  });

  test("has no processes but its own, and no privileges to gain", async () => {
    const { stdout } = await boxed(
      "ls /proc | grep -c '^[0-9]'; grep -E 'CapEff|NoNewPrivs' /proc/self/status; id -u",
    );
    const [count, capabilities, noNewPrivileges] = stdout.split("\n");
    expect(Number(count)).toBeLessThan(8);
    expect(capabilities).toMatch(/CapEff:\s+0+$/);
    expect(noNewPrivileges).toMatch(/NoNewPrivs:\s+1$/);
    expect(stdout).not.toEndWith("\n0\n");
  });

  test("has no way out by a path, a link or /proc", async () => {
    const { stdout } = await boxed(
      `ln -s ${dataDir} link; cat link/journal ../../journal /proc/1/root${dataDir}/journal; echo end`,
    );
    expect(stdout).toBe("end\n");
  });

  test("reaches nothing that listens on the node", async () => {
    using server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { open: (socket) => void socket.end("secret"), data: () => undefined },
    });
    const connect = `exec 3<>/dev/tcp/127.0.0.1/${server.port}; cat <&3`;
    const script = `bash -c '${connect}'`;
    expect((await run(script)).stdout).toBe("secret");
    expect((await boxed(script)).stdout).toBe("");
  });

  test("has the host's network where the node allows it and the task asks for it", async () => {
    await using open = new ProcessAgent({
      nodeId: systemIds.next("node"),
      dataDir,
      sandboxes: ["namespace"],
      hostNetwork: true,
    });
    const links = (options: Options) => run("grep -c : /proc/net/dev", { by: open, ...options });
    const own = Number((await links({})).stdout);
    const hosts = Number((await links({ process: { network: "host" } })).stdout);
    expect(own).toBe(1);
    expect(hosts).toBe(Number((await run("grep -c : /proc/net/dev")).stdout));
  });
});

describe("another user", () => {
  test("owns the work directory and nothing else", async () => {
    const { stdout, exit } = await run(
      `id -u; id -G; echo a >file && cat "$HOME/file"; echo out >/dev/stdout; ls ${dataDir}`,
      { process: { user: "nobody" } },
    );
    expect(stdout).toBe("65534\n65534\na\nout\n");
    expect(exit.exitCode).not.toBe(0);
  });

  test("can be given by number", async () => {
    const { stdout } = await run("id -u; id -g", { process: { user: "12345:12346" } });
    expect(stdout).toBe("12345\n12346\n");
  });
});

test("what the node does not allow is refused by name", async () => {
  await using strict = new ProcessAgent({
    nodeId: systemIds.next("node"),
    dataDir,
    sandboxes: ["namespace"],
    hostNetwork: false,
  });
  expect(await refusal({ by: strict, spec: { sandbox: "none" } })).toBe("sandbox_not_allowed");
  expect(await refusal({ by: strict, process: { network: "host" } })).toBe("network_not_allowed");
  expect(await refusal({ process: { network: "none" } })).toBe("network_not_allowed");
  expect(await refusal({ process: { user: "no-such-user" } })).toBe("user_not_found");
  expect(await refusal({ process: { user: "1000:0" } })).toBe("user_not_allowed");
  const asRoot = { process: { user: "root" }, spec: { sandbox: "namespace" } } as const;
  expect(await refusal(asRoot)).toBe("user_not_allowed");
});

test("a node that can be reached from elsewhere runs nothing outside of a sandbox", () => {
  const policy = (flags: Record<string, unknown>) =>
    processPolicy(loadConfig("spearlet", spearletConfig, { flags, environment: {} }));
  expect(policy({})).toEqual({ sandboxes: ["none", "namespace"], hostNetwork: true });
  for (const flags of [{ httpListen: "0.0.0.0:7710" }, { grpcListen: "10.0.0.5:7711" }]) {
    expect(policy(flags)).toEqual({ sandboxes: ["namespace"], hostNetwork: false });
  }
  expect(policy({ httpListen: "0.0.0.0:0", sandboxes: "none", sandboxNetwork: "true" })).toEqual({
    sandboxes: ["none"],
    hostNetwork: true,
  });
});

test("an attempt that is killed takes nothing of the next one with it", async () => {
  for (let round = 0; round < 15; round += 1) {
    const killed = await run("exec sleep 1000", {}, (running) => running.stop(0));
    expect(killed.exit.exitCode).toBeUndefined();
    const { exit, stdout } = await run("sleep 0.01; sleep 0.01; echo whole");
    expect({ ...exit, stdout }).toMatchObject({ exitCode: 0, stdout: "whole\n" });
  }
});

describe("limits", () => {
  test("CPU that was asked for is a bound, CPU that was not is none", async () => {
    const limits = { cpu: 0.5, memoryBytes: 0, pids: undefined };
    const busy = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done; cat /proc/self/cgroup";
    const groupOf = (text: string) =>
      /:cpu(?:,\w+)?:(.*)$/m.exec(text)?.[1] ?? /^0::(.*)$/m.exec(text)?.[1];
    const { stdout } = await run(busy, { limits, spec: { resources: { cpu: 0.5 } } });
    expect(groupOf(stdout)).toContain(`spear-${nodeId}`);
    expect(groupOf((await run(busy, { limits })).stdout)).toBeDefined();
  });

  test("without control groups a command's memory is bounded by the kernel's own limit", async () => {
    await using plain = new ProcessAgent({
      nodeId: systemIds.next("node"),
      dataDir,
      sandboxes: ["none"],
      hostNetwork: false,
      groups: "none",
    });
    const limits = { cpu: 0, memoryBytes: 32 * MIB, pids: undefined };
    const hungry = "sleep 0.1; head -c 300000000 /dev/zero | tail -c 150000000 | wc -c";
    expect((await run(hungry, { by: plain, limits })).stdout.trim()).not.toBe("150000000");
  });
});

test("a process that hides and keeps the output open does not hold up the end", async () => {
  await using plain = new ProcessAgent({
    nodeId: systemIds.next("node"),
    dataDir,
    sandboxes: ["none"],
    hostNetwork: false,
    groups: "none",
  });
  // Out of its session, its parent gone, its environment empty: only groups would find it.
  const { exit, stdout } = await run("setsid sh -c 'env -i sleep 4 &'; echo done", { by: plain });
  expect(exit.exitCode).toBe(0);
  expect(stdout).toBe("done\n");
});
