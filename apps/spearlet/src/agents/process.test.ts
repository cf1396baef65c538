import { mkdtemp, readdir, rm } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds } from "@spear/shared/ids.ts";
import { findCgroups } from "../machine/cgroups.ts";
import { describeAgent, shellScript, type Behaviour, type OpenFixture } from "./contract.ts";
import { ProcessAgent, type ProcessOptions } from "./process.ts";

const everywhere: Behaviour["does"][] = [
  "exit",
  "print",
  "print-by-name",
  "copy",
  "environment",
  "hang",
  "ignore-term",
  "heed-term",
  "die",
  "leave-children",
  "hang-with-children",
  "flood",
  "all-bytes",
  "double-file",
];

/** Processes of a task, by what they were started with. */
async function countAlive(taskId: string): Promise<number> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8")
        .split("\0")
        .includes(`SPEAR_TASK_ID=${taskId}`);
    } catch {
      return false;
    }
  }).length;
}

function open(options: Partial<ProcessOptions>, sandbox: "none" | "namespace") {
  return async (): Promise<OpenFixture> => {
    const dataDir = await mkdtemp(join(tmpdir(), "spear-process-"));
    const nodeId = systemIds.next("node");
    return {
      nodeId,
      makeAgent: () =>
        new ProcessAgent({
          nodeId,
          dataDir,
          sandboxes: ["none", "namespace"],
          hostNetwork: false,
          ...options,
        }),
      spec: (behaviour) => ({
        process: { command: ["sh", "-c", shellScript(behaviour)] },
        sandbox,
      }),
      countAlive: ({ taskId }) => countAlive(taskId),
      [Symbol.asyncDispose]: () => rm(dataDir, { recursive: true }),
    };
  };
}

describeAgent({
  name: "process",
  can: [...everywhere, "allocate", "fork-bomb"],
  open: open({}, "none"),
});

describeAgent({
  name: "process, without control groups",
  can: everywhere,
  open: open({ groups: "none" }, "none"),
});

// Beside version 1 it has no controllers, so that processes are grouped and ended by it, and not
// limited; where it is alone, it is what the first suite runs with.
const machine = findCgroups();
describeAgent({
  name: "process, by control groups of version 2",
  can: everywhere,
  open: open(
    { groups: machine.v2 === undefined ? machine : { ...machine, v1: new Map() } },
    "none",
  ),
});

describeAgent({
  name: "process, in a sandbox",
  can: [...everywhere.filter((does) => does !== "die"), "allocate", "fork-bomb"],
  open: open({}, "namespace"),
});
