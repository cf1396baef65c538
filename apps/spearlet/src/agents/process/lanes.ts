/** The node's lanes: one for each attempt that runs, the clean ones used again. */
import { existsSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "@spear/shared/clock.ts";
import type { NodeId } from "@spear/shared/ids.ts";
import { findCgroups } from "../../machine/cgroups.ts";
import { favourMoves } from "../../machine/migration.ts";
import { killEach, membersOf, removeGroup } from "./controlfile.ts";
import { groupsOfOtherRuns, openGroups, type Groups } from "./groups.ts";
import { Lane, type LaneLimits } from "./lane.ts";

const killRounds = 500;

export class Lanes implements AsyncDisposable {
  readonly #nodeId: NodeId;
  readonly #groups: Groups;
  readonly #all = new Set<Lane>();
  readonly #free: Lane[] = [];
  readonly #quickMoves: Disposable | undefined;
  #made = 0;

  private constructor(nodeId: NodeId, groups: Groups) {
    this.#nodeId = nodeId;
    this.#groups = groups;
    const moves = groups.method === "cgroup1" || this.dirs.length > 1;
    this.#quickMoves = moves ? favourMoves() : undefined;
  }

  /** Undefined where this user may not make control groups. */
  static open(nodeId: NodeId, found = findCgroups()): Lanes | undefined {
    const groups = openGroups(nodeId, crypto.randomUUID(), found);
    return groups === undefined ? undefined : new Lanes(nodeId, groups);
  }

  get method(): Groups["method"] {
    return this.#groups.method;
  }

  /** Directories that have a group for each attempt; the first one's hold all its processes. */
  get dirs(): string[] {
    const { dir, limits } = this.#groups;
    return [...new Set([dir, ...Object.values(limits).map((root) => root.dir)])];
  }

  /** A lane with these limits. Throws if the machine has no more groups, or can't set them. */
  acquire(limits: LaneLimits): Lane {
    for (let lane = this.#free.pop(); lane !== undefined; lane = this.#free.pop()) {
      if (lane.prepare(limits)) return lane;
      this.#discard(lane);
    }
    const lane = new Lane(this.#groups, String(++this.#made));
    this.#all.add(lane);
    if (lane.prepare(limits)) return lane;
    this.#discard(lane);
    throw new Error("the limits of a new control group can't be set");
  }

  /** Gives a lane back in which nothing runs any more. */
  release(lane: Lane): void {
    if (isClean(lane)) this.#free.push(lane);
    else this.#discard(lane);
  }

  /** The kernel may still count what the attempt left; that must not hold up anybody. */
  #discard(lane: Lane): void {
    void lane.remove().then(
      () => this.#all.delete(lane),
      // Tried again when the node stops, and by its next run.
      () => undefined,
    );
  }

  /** Ends what earlier runs of the node left; resolves with how many processes there were. */
  async sweep(): Promise<number> {
    let processes = 0;
    for (const dir of groupsOfOtherRuns(this.#nodeId, this.#groups, findCgroups())) {
      processes += await clearGroup(dir);
    }
    return processes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const lane of this.#all) {
      await lane.kill();
      await lane.remove();
    }
    for (const dir of this.dirs) await removeGroup(dir);
    this.#quickMoves?.[Symbol.dispose]();
  }
}

/** A lane that somebody else has removed is not clean. */
function isClean(lane: Lane): boolean {
  try {
    return lane.isClean();
  } catch {
    return false;
  }
}

/**
 * Kills all that runs in a group and below, and removes it; resolves with how many
 * there were. One that is gone has none.
 */
export async function clearGroup(dir: string): Promise<number> {
  if (!existsSync(dir)) return 0;
  let processes = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) processes += await clearGroup(join(dir, entry.name));
  }
  processes += membersOf(dir).length;
  for (let round = 0; membersOf(dir).length > 0; round += 1) {
    if (round === killRounds) throw new Error(`processes in ${dir} outlive SIGKILL`);
    await writeFile(join(dir, "pids.max"), "0", { flag: "r+" }).catch(() => undefined);
    // Version 1 has no such file.
    await writeFile(join(dir, "cgroup.kill"), "1", { flag: "r+" }).catch(() => {
      killEach(membersOf(dir));
    });
    await systemClock.wait(Math.min(1 + round, 20));
  }
  await removeGroup(dir);
  return processes;
}
