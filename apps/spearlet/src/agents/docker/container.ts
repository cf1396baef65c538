/**
 * What a container of an attempt looks like. A task reaches its work directory, a
 * private /tmp and the network that its spec names, and nothing else of the node
 * (S1): no capabilities, no new privileges, no other mounts.
 */
import { chmod, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type Docker from "dockerode";
import { specDefaults, type TaskSpec } from "@spear/shared/task.ts";
import { socketName, socketVariable } from "../../hostcalls/socket.ts";
import type { AttemptContext } from "../agent.ts";
import type { Image } from "./image.ts";

export type DockerSpec = NonNullable<TaskSpec["docker"]>;

/** Where the work directory is mounted; the command starts there. */
const workMount = "/work";
/** For a task that sets none: a fork bomb ends here. */
const defaultPids = 1024;
const cpuPeriodUs = 100_000;
/** The least that the engine takes. */
const leastQuotaUs = 1_000;
const leastMemoryBytes = 6 * 1024 * 1024;
const leastLogBytes = 1024 * 1024;

export const nodeLabel = "spear.node";
export const taskLabel = "spear.task";
export const attemptLabel = "spear.attempt";

export function containerName({ taskId, attempt }: Pick<AttemptContext, "taskId" | "attempt">) {
  return `spear-${taskId}-${attempt}`;
}

/** How much of a container's output the engine keeps at least, as encoded in its log. */
export function engineLogBytes(spec: TaskSpec): number {
  return Math.max(leastLogBytes, spec.maxLogBytes ?? specDefaults.maxLogBytes);
}

/** The request that creates the container. */
export function containerOptions(
  context: AttemptContext,
  spec: DockerSpec,
  image: Image,
  nodeId: string,
): Docker.ContainerCreateOptions {
  const { cpu, memoryBytes, pids } = context.limits;
  const hasStdin = context.stdin.byteLength > 0;
  const memory = memoryBytes === 0 ? 0 : Math.max(memoryBytes, leastMemoryBytes);
  return {
    name: containerName(context),
    Image: image.name,
    ...(spec.command === undefined || spec.command.length === 0 ? {} : { Cmd: spec.command }),
    ...(spec.user === undefined ? {} : { User: spec.user }),
    // The socket for hostcalls is where the work directory is mounted.
    Env: Object.entries(context.env).map(([name, value]) =>
      name === socketVariable ? `${name}=${workMount}/${socketName}` : `${name}=${value}`,
    ),
    WorkingDir: workMount,
    Labels: {
      [nodeLabel]: nodeId,
      [taskLabel]: context.taskId,
      [attemptLabel]: String(context.attempt),
    },
    AttachStdin: hasStdin,
    OpenStdin: hasStdin,
    // The end of our input is the end of the command's input.
    StdinOnce: hasStdin,
    AttachStdout: true,
    AttachStderr: true,
    StopSignal: "SIGTERM",
    Healthcheck: { Test: ["NONE"] },
    HostConfig: {
      NetworkMode: spec.network ?? "none",
      Mounts: [
        {
          Type: "bind",
          Source: context.workDir,
          Target: workMount,
          BindOptions: { Propagation: "rprivate" },
        },
      ],
      Tmpfs: { "/tmp": "rw,exec,nosuid,nodev,mode=1777" },
      ReadonlyRootfs: spec.readOnly ?? false,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      Memory: memory,
      // Memory and swap together: no swap.
      MemorySwap: memory,
      ...(cpu === 0
        ? {}
        : {
            CpuPeriod: cpuPeriodUs,
            CpuQuota: Math.max(leastQuotaUs, Math.round(cpu * cpuPeriodUs)),
            CpuShares: Math.max(2, Math.round(cpu * 1024)),
          }),
      PidsLimit: pids ?? defaultPids,
      // Reaps zombies, and passes signals on to a command that as process 1 would ignore them.
      Init: true,
      // Of the engine's logs `local` gives back every byte as it was; `json-file` spoils what is
      // not UTF-8. It is read only after a restart, and bounded, since attached output has no end.
      LogConfig: {
        Type: "local",
        Config: {
          "max-size": String(engineLogBytes(context.spec)),
          "max-file": "2",
          compress: "false",
        },
      },
    },
  };
}

/** Numeric user of `user[:group]`; undefined for a name, which only the image can resolve. */
function numericUser(user: string): number | undefined {
  const name = user.split(":")[0] ?? "";
  if (name === "" || name === "root") return 0;
  return /^\d+$/.test(name) ? Number(name) : undefined;
}

/**
 * Lets a command that runs as another user than this process read and write the
 * work directory and its inputs: without capabilities even root can't pass by the
 * modes. Its parent keeps the node's other users out.
 */
export async function openWorkDir(workDir: string, user: string): Promise<void> {
  if (numericUser(user) === process.getuid?.()) return;
  await chmod(workDir, 0o777);
  const entries = await readdir(workDir, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory()) await chmod(path, 0o777);
    else if (entry.isFile()) {
      const { mode } = await stat(path);
      await chmod(path, (mode & 0o100) === 0 ? 0o666 : 0o777);
    }
  }
}
