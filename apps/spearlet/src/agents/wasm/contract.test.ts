import { mkdtemp, rm } from "node:fs/promises";
import { readdirSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds } from "@spear/shared/ids.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import { describeAgent, type Behaviour, type OpenFixture } from "../contract.ts";
import { guest } from "./guests/build.ts";
import { WasmAgent } from "./wasm.ts";

const SIGSEGV = 11;

/** What the guest `behave` is told. */
function argumentsOf(behaviour: Behaviour): string[] {
  switch (behaviour.does) {
    case "exit":
      return ["exit", String(behaviour.code)];
    case "print":
      return ["print", behaviour.stdout, behaviour.stderr];
    case "die":
      return ["die", String(SIGSEGV)];
    case "flood":
    case "allocate":
      return [behaviour.does, String(behaviour.bytes)];
    default:
      return [behaviour.does];
  }
}

/** Processes that have the directory open, as the child of a guest does. */
function countHolding(directory: string): number {
  return readdirSync("/proc").filter((pid) => {
    const descriptors = `/proc/${pid}/fd`;
    try {
      return readdirSync(descriptors).some(
        (fd) => readlinkSync(join(descriptors, fd)) === directory,
      );
    } catch {
      return false;
    }
  }).length;
}

describeAgent({
  name: "wasm",
  can: [
    "exit",
    "print",
    "copy",
    "environment",
    "hang",
    "die",
    "flood",
    "all-bytes",
    "double-file",
    "allocate",
  ],
  open: async (): Promise<OpenFixture> => {
    const module = await guest("behave.c");
    const dataDir = await mkdtemp(join(tmpdir(), "spear-wasm-contract-"));
    return {
      nodeId: systemIds.next("node"),
      makeAgent: () =>
        new WasmAgent({
          cacheDir: join(dataDir, "cache"),
          fetchModule: () => Promise.resolve({ path: module, sha256: "" }),
        }),
      spec: (behaviour): TaskSpec => ({
        wasm: { module: "guests/behave.wasm", args: argumentsOf(behaviour) },
      }),
      countAlive: ({ workDir }) => Promise.resolve(countHolding(workDir)),
      [Symbol.asyncDispose]: () => rm(dataDir, { recursive: true }),
    };
  },
});
