/** What the machine has to offer and what it is using, measured. */
import { readFileSync, statfsSync } from "node:fs";
import { availableParallelism, loadavg, totalmem } from "node:os";
import type { Capacity, NodeUsage } from "@spear/shared/node.ts";
import type { SpearletConfig } from "../config.ts";
import { cpuLimit, findCgroups, memoryLimit } from "../machine/cgroups.ts";

/**
 * Attempts at once for each core. The default need of a task (0.1 core) lets ten
 * run on a core; the rest is room for tasks that say that they need less.
 */
const slotsPerCore = 16;

/** What the node offers: the settings, else the machine within its control groups. */
export function measureCapacity(
  config: Pick<SpearletConfig, "cpu" | "memoryBytes" | "slots" | "extras">,
): Capacity {
  const groups = findCgroups();
  const cpu = config.cpu ?? Math.min(availableParallelism(), cpuLimit(groups) ?? Infinity);
  return {
    cpu,
    memoryBytes: config.memoryBytes ?? Math.min(totalmem(), memoryLimit(groups) ?? Infinity),
    slots: config.slots ?? Math.max(1, Math.ceil(cpu)) * slotsPerCore,
    extras: config.extras,
  };
}

interface CpuTimes {
  busy: number;
  atMs: number;
}

const ticksPerSecond = 100;

/** Measures use; CPU is the average since the measurement before. */
export class UsageMeter {
  readonly #dataDir: string;
  #last: CpuTimes;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
    this.#last = readCpu();
  }

  measure(running: number): NodeUsage {
    const now = readCpu();
    const elapsedMs = Math.max(1, now.atMs - this.#last.atMs);
    const cpu = ((now.busy - this.#last.busy) / ticksPerSecond) * (1000 / elapsedMs);
    this.#last = now;
    const disk = statfsSync(this.#dataDir);
    return {
      cpu: Math.max(0, Math.round(cpu * 1000) / 1000),
      memoryBytes: memoryInUse(),
      running,
      diskFreeBytes: disk.bavail * disk.bsize,
      load1: Math.round((loadavg()[0] ?? 0) * 100) / 100,
    };
  }
}

function readCpu(): CpuTimes {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n", 1);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return { busy: user + nice + system + irq + softirq, atMs: performance.now() };
}

function memoryInUse(): number {
  const text = readFileSync("/proc/meminfo", "utf8");
  const kilobytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
  return (kilobytes("MemTotal") - kilobytes("MemAvailable")) * 1024;
}
