/**
 * What a container uses. The engine can tell only while the container runs, so
 * where the engine shares this machine each container gets a control group of its
 * own as parent: that stays after the end and has the exact sums. Elsewhere it is
 * what the engine said when it was last asked.
 */
import { readFileSync } from "node:fs";
import { rmdir } from "node:fs/promises";
import { hostname, release } from "node:os";
import { join } from "node:path";
import type { Usage } from "@spear/shared/task.ts";
import { findCgroups } from "../../machine/cgroups.ts";
import type { Engine } from "./engine.ts";

export interface Meter {
  /** What was used so far; never throws. */
  read(): Promise<Usage>;
}

/** What `docker info` says, as far as it matters. */
interface EngineFacts {
  Name?: string;
  KernelVersion?: string;
  CgroupDriver?: string;
}

/**
 * True if containers can get groups that this process reads and removes: the
 * engine runs on this machine, names groups by path, and we are root.
 */
export async function sharesCgroups(engine: Engine): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  const facts = await engine.call((docker) => docker.info() as Promise<EngineFacts>);
  return (
    facts.Name === hostname() &&
    facts.KernelVersion === release() &&
    facts.CgroupDriver === "cgroupfs"
  );
}

function number(path: string): number | undefined {
  try {
    return Number(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

function microseconds(statPath: string): number | undefined {
  try {
    const line = /^usage_usec (\d+)$/m.exec(readFileSync(statPath, "utf8"));
    return line === null ? undefined : Number(line[1]);
  } catch {
    return undefined;
  }
}

/** A control group that holds one container. */
export class ContainerGroup implements Meter {
  readonly #name: string;

  /** The group lies at the root of each hierarchy. */
  constructor(name: string) {
    this.#name = name;
  }

  read(): Promise<Usage> {
    const { v1, v2 } = findCgroups();
    const file = (mount: string | undefined, name: string) =>
      join(mount ?? "/nowhere", this.#name, name);
    const nanoseconds = number(file(v1.get("cpuacct")?.mount, "cpuacct.usage"));
    const cpuMs =
      nanoseconds === undefined
        ? (microseconds(file(v2?.mount, "cpu.stat")) ?? 0) / 1e3
        : nanoseconds / 1e6;
    const maxMemoryBytes =
      number(file(v1.get("memory")?.mount, "memory.max_usage_in_bytes")) ??
      number(file(v2?.mount, "memory.peak")) ??
      0;
    return Promise.resolve({ cpuMs: Math.round(cpuMs), maxMemoryBytes });
  }

  /** Removes it from every hierarchy; what still holds a process stays. */
  async remove(): Promise<void> {
    const { v1, v2 } = findCgroups();
    const mounts = new Set([...v1.values(), ...(v2 === undefined ? [] : [v2])].map((h) => h.mount));
    await Promise.allSettled([...mounts].map((mount) => rmdir(join(mount, this.#name))));
  }
}

/** Asks the engine. */
export class EngineMeter implements Meter {
  readonly #engine: Engine;
  readonly #id: string;
  readonly #last: Usage = { cpuMs: 0, maxMemoryBytes: 0 };

  constructor(engine: Engine, id: string) {
    this.#engine = engine;
    this.#id = id;
  }

  async read(): Promise<Usage> {
    try {
      const stats = await this.#engine.call((docker) =>
        docker.getContainer(this.#id).stats({ stream: false, "one-shot": true }),
      );
      const cpuMs = Math.round(stats.cpu_stats.cpu_usage.total_usage / 1e6);
      // After the end, and where it can't tell, the engine says nothing or zero.
      const memory: { max_usage?: number; usage?: number } = stats.memory_stats;
      this.#last.cpuMs = Math.max(this.#last.cpuMs, cpuMs);
      this.#last.maxMemoryBytes = Math.max(
        this.#last.maxMemoryBytes,
        memory.max_usage ?? memory.usage ?? 0,
      );
    } catch {
      // It is gone or does not answer: what was seen last is what there is.
    }
    return { ...this.#last };
  }
}
