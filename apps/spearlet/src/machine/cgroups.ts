/**
 * Where this process stands in the machine's control groups. Version 2 may be
 * alone, beside version 1 hierarchies, or absent.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Hierarchy {
  /** Where it is mounted. */
  mount: string;
  /** Directory of this process's group below the mount. */
  own: string;
}

export interface Cgroups {
  v2: Hierarchy | undefined;
  /** Version 1 controllers by name, as `memory`. */
  v1: ReadonlyMap<string, Hierarchy>;
}

/** Finds the hierarchies from the kernel's tables. */
export function findCgroups(
  mountinfo = readFileSync("/proc/self/mountinfo", "utf8"),
  membership = readFileSync("/proc/self/cgroup", "utf8"),
): Cgroups {
  const paths = new Map<string, string>();
  for (const line of membership.trim().split("\n")) {
    const [, controllers = "", ...path] = line.split(":");
    for (const controller of controllers.split(",")) paths.set(controller, path.join(":"));
  }
  let v2: Hierarchy | undefined;
  const v1 = new Map<string, Hierarchy>();
  for (const line of mountinfo.trim().split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const mount = before.split(" ")[4] ?? "";
    const [type, , options = ""] = after.split(" ");
    if (type === "cgroup2") v2 = hierarchy(mount, paths.get(""));
    if (type !== "cgroup") continue;
    for (const controller of options.split(",")) {
      const path = paths.get(controller);
      if (path !== undefined) v1.set(controller, hierarchy(mount, path));
    }
  }
  return { v2, v1 };
}

/** In a container the path may lie outside of what is mounted; then its root is ours. */
function hierarchy(mount: string, path = "/"): Hierarchy {
  const own = path === "/" ? mount : join(mount, path);
  return { mount, own: existsSync(own) ? own : mount };
}

/** A limit file's number; undefined if there is none, or it says that there is no limit. */
function limit(path: string): number | undefined {
  try {
    const [first = ""] = readFileSync(path, "utf8").trim().split(" ");
    const value = Number(first);
    return Number.isFinite(value) && value >= 0 && value < 2 ** 60 ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The least of a hierarchy's limits from this process's group up to the mount. */
function least(
  { mount, own }: Hierarchy,
  read: (group: string) => number | undefined,
): number | undefined {
  let found: number | undefined;
  for (let group = own; ; group = join(group, "..")) {
    const value = read(group);
    if (value !== undefined && (found === undefined || value < found)) found = value;
    if (group === mount || !group.startsWith(mount)) return found;
  }
}

function quota(path: string): number | undefined {
  try {
    const [most = "", period = ""] = readFileSync(path, "utf8").trim().split(" ");
    return most === "max" ? undefined : Number(most) / Number(period);
  } catch {
    return undefined;
  }
}

/** CPU cores that the groups allow; undefined if they set no limit. */
export function cpuLimit({ v2, v1 }: Cgroups): number | undefined {
  const cpu = v1.get("cpu");
  if (cpu !== undefined) {
    return least(cpu, (group) => {
      const most = limit(join(group, "cpu.cfs_quota_us"));
      const period = limit(join(group, "cpu.cfs_period_us"));
      return most === undefined || period === undefined ? undefined : most / period;
    });
  }
  return v2 === undefined ? undefined : least(v2, (group) => quota(join(group, "cpu.max")));
}

/** Memory in bytes that the groups allow; undefined if they set no limit. */
export function memoryLimit({ v2, v1 }: Cgroups): number | undefined {
  const memory = v1.get("memory");
  if (memory !== undefined) {
    return least(memory, (group) => limit(join(group, "memory.limit_in_bytes")));
  }
  return v2 === undefined ? undefined : least(v2, (group) => limit(join(group, "memory.max")));
}
