/**
 * The control groups below which attempts get theirs. A child is started inside
 * of one group, atomically: of version 2, or of version 1 where that has the
 * controller of pids, since a fork bomb would outrun any later move. Into others
 * it is moved. What may not be written is done without.
 */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { findCgroups, type Cgroups, type Hierarchy } from "../../machine/cgroups.ts";

export const resources = ["memory", "pids", "cpu"] as const;
export type Resource = (typeof resources)[number];

/** Directory below which groups limit one resource, and how its files are named. */
export interface LimitRoot {
  dir: string;
  version: 1 | 2;
}

export interface Groups {
  method: "cgroup2" | "cgroup1";
  /** Directory below which the groups hold the processes of attempts. */
  dir: string;
  limits: Partial<Record<Resource, LimitRoot>>;
}

/** The names of groups start with this and the node's id. */
const prefix = "spear-";

/** A control file's words; none if it can't be read. */
function words(path: string): string[] {
  try {
    return readFileSync(path, "utf8")
      .split(/\s+/)
      .filter((word) => word !== "");
  } catch {
    return [];
  }
}

function attempt(change: () => void): boolean {
  try {
    change();
    return true;
  } catch {
    return false;
  }
}

/**
 * Makes this run's directories; undefined where no hierarchy may be written.
 * `run` tells this run of the node's SPEARlet from earlier ones.
 */
export function openGroups(nodeId: string, run: string, found = findCgroups()): Groups | undefined {
  const name = `${prefix}${nodeId}.${run}`;
  const limits: Groups["limits"] = {};
  const v1 = [...found.v1].filter(([controller]) => resources.includes(controller as Resource));
  for (const [controller, { own }] of v1) {
    const dir = join(own, name);
    if (attempt(() => mkdirSync(dir))) limits[controller as Resource] = { dir, version: 1 };
  }
  const v2 =
    limits.pids === undefined && found.v2 !== undefined ? openV2(found.v2, name) : undefined;
  if (v2 !== undefined) {
    const { dir, controllers } = v2;
    for (const resource of resources) {
      if (controllers.includes(resource)) limits[resource] ??= { dir, version: 2 };
    }
    return { method: "cgroup2", dir, limits };
  }
  const dir = (limits.pids ?? limits.memory ?? limits.cpu)?.dir;
  return dir === undefined ? undefined : { method: "cgroup1", dir, limits };
}

/**
 * Below this process's own group, or at the root where only that has controllers
 * to give, as container engines do.
 */
function openV2(
  { own, mount }: Hierarchy,
  name: string,
): { dir: string; controllers: string[] } | undefined {
  const made = [...new Set([own, mount])].flatMap((parent) => {
    const dir = join(parent, name);
    if (!attempt(() => mkdirSync(dir))) return [];
    // Without it a tree can't be ended at once.
    if (words(join(dir, "cgroup.controllers")) && !hasFile(dir, "cgroup.kill")) {
      attempt(() => rmdirSync(dir));
      return [];
    }
    return [{ dir, controllers: delegate(parent, dir) }];
  });
  const [best, ...others] = made.toSorted((a, b) => b.controllers.length - a.controllers.length);
  for (const { dir } of others) attempt(() => rmdirSync(dir));
  return best;
}

function hasFile(dir: string, file: string): boolean {
  return readdirSync(dir).includes(file);
}

/** Passes controllers on from `parent` to the groups below `dir`; resolves with those that are. */
function delegate(parent: string, dir: string): string[] {
  const enable = (at: string, controller: string) =>
    words(join(at, "cgroup.subtree_control")).includes(controller) ||
    attempt(() => writeFileSync(join(at, "cgroup.subtree_control"), `+${controller}`));
  return resources.filter((controller) => {
    if (!words(join(parent, "cgroup.controllers")).includes(controller)) return false;
    if (!enable(parent, controller)) {
      // A group with processes of its own can't pass controllers on: if we are
      // alone in it, as under systemd, we move one level down.
      const alone = words(join(parent, "cgroup.procs")).join() === String(process.pid);
      if (!alone || !moveDown(parent) || !enable(parent, controller)) return false;
    }
    return enable(dir, controller);
  });
}

function moveDown(parent: string): boolean {
  const self = join(parent, `${prefix}self-${process.pid}`);
  return attempt(() => {
    mkdirSync(self, { recursive: true });
    writeFileSync(join(self, "cgroup.procs"), String(process.pid));
  });
}

/** Directories of the node's groups that runs other than this one made. */
export function groupsOfOtherRuns(nodeId: string, ours: Groups, found: Cgroups): string[] {
  const own = new Set([ours.dir, ...Object.values(ours.limits).map(({ dir }) => dir)]);
  const hierarchies = [...found.v1.values(), ...(found.v2 === undefined ? [] : [found.v2])];
  const parents = new Set([
    ...hierarchies.flatMap(({ own: group, mount }) => [group, mount]),
    ...[...own].map((dir) => dirname(dir)),
  ]);
  return [...parents]
    .flatMap((parent) =>
      readdirSync(parent)
        .filter((name) => name.startsWith(`${prefix}${nodeId}.`))
        .map((name) => join(parent, name)),
    )
    .filter((dir) => !own.has(dir));
}
