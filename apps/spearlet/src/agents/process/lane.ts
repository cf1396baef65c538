/**
 * A control group that holds one attempt at a time and is used again: making one
 * for each attempt costs more than many a command. What a former attempt used is
 * not charged to the next; a lane that can't be emptied is thrown away.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@spear/shared/clock.ts";
import {
  ControlFile,
  entry,
  isGone,
  killEach,
  membersOf,
  removeGroup,
  tryWrite,
} from "./controlfile.ts";
import { resources, type Groups, type LimitRoot, type Resource } from "./groups.ts";

/** What an attempt may use; undefined: no limit. */
export interface LaneLimits {
  /** CPU cores. */
  cpu: number | undefined;
  memoryBytes: number | undefined;
  pids: number | undefined;
}

/** Names of the files that differ between the versions. */
const files = {
  1: {
    memory: "memory.limit_in_bytes",
    swap: "memory.memsw.limit_in_bytes",
    peak: "memory.max_usage_in_bytes",
    current: "memory.usage_in_bytes",
    events: "memory.oom_control",
    unlimited: "-1",
  },
  2: {
    memory: "memory.max",
    swap: "memory.swap.max",
    peak: "memory.peak",
    current: "memory.current",
    events: "memory.events",
    unlimited: "max",
  },
} as const;

const cpuPeriodUs = 100_000;
/** What a former attempt may leave charged to a lane that is used again, in bytes. */
const residueBytes = 1024 * 1024;
const killRounds = 500;
/** How often new processes are looked for before starting them is forbidden, and in all. */
const patientRounds = 20;
const enrollRounds = 100;
/** How often nobody new may be found before that is believed. */
const mostEmptyLooks = 5;

/** What of an attempt's limits each resource is. */
const setting = { memory: "memoryBytes", pids: "pids", cpu: "cpu" } as const;

export class Lane {
  /** Where a child is started. */
  readonly dir: string;
  readonly #version: 1 | 2;
  /** Directory and version for each resource that can be limited. */
  readonly #limits: Partial<Record<Resource, LimitRoot>> = {};
  /** Groups in other hierarchies, into which a child is moved, by directory. */
  readonly #others = new Map<string, { resource: Resource; dir: string; file: ControlFile }>();
  readonly #peak: ControlFile | undefined;
  /** How many processes and threads there are, zombies included. */
  readonly #count: ControlFile | undefined;
  #set: Partial<LaneLimits> = {};
  #used = false;
  #removed: Promise<void> | undefined;
  #killing: Promise<void> | undefined;
  #spent = false;
  #pids: number | undefined;
  #cpuBeforeUs = 0;
  /** Nothing has run in it since it was last found empty. */
  #empty = true;

  constructor(groups: Groups, name: string) {
    this.dir = join(groups.dir, name);
    this.#version = groups.method === "cgroup2" ? 2 : 1;
    mkdirSync(this.dir);
    const made = new Set([this.dir]);
    for (const resource of resources) {
      const root = groups.limits[resource];
      if (root === undefined) continue;
      const dir = join(root.dir, name);
      this.#limits[resource] = { dir, version: root.version };
      if (made.has(dir)) continue;
      mkdirSync(dir);
      made.add(dir);
      const file = new ControlFile(join(dir, "cgroup.procs"), "w");
      this.#others.set(dir, { resource, dir, file });
    }
    const { memory, pids } = this.#limits;
    if (pids?.dir === this.dir) this.#count = new ControlFile(join(this.dir, "pids.current"), "r");
    if (memory !== undefined) {
      this.#peak = new ControlFile(join(memory.dir, files[memory.version].peak), "r+");
      if (memory.version === 2) {
        tryWrite(join(memory.dir, "memory.swap.max"), "0");
        tryWrite(join(memory.dir, "memory.oom.group"), "1");
      }
    }
  }

  /** Its directories in all hierarchies. */
  get dirs(): string[] {
    return [...new Set([this.dir, ...Object.values(this.#limits).map(({ dir }) => dir)])];
  }

  /** Gets ready for an attempt; false if the lane can't be used again. */
  prepare(limits: LaneLimits): boolean {
    if (!this.#limitMemory(limits.memoryBytes) || !this.#resetPeak()) return false;
    this.#used = true;
    this.#limitPids(limits.pids);
    this.#limitCpu(limits.cpu);
    this.#cpuBeforeUs = this.#cpuUs();
    this.#empty = false;
    return true;
  }

  /** True if the kernel holds attempts to a limit of that resource. */
  limits(resource: Resource): boolean {
    return this.#limits[resource] !== undefined;
  }

  #limitMemory(bytes: number | undefined): boolean {
    const memory = this.#limits.memory;
    if (memory === undefined) return true;
    if (bytes !== this.#set.memoryBytes) {
      const { memory: limit, swap, unlimited } = files[memory.version];
      const text = bytes === undefined ? unlimited : String(bytes);
      const raise = bytes === undefined || bytes > (this.#set.memoryBytes ?? Infinity);
      // The limit with swap may never be below the one without.
      const order = memory.version === 1 ? (raise ? [swap, limit] : [limit, swap]) : [limit];
      const done = order.map((file) => tryWrite(join(memory.dir, file), text));
      if (!(done[order.indexOf(limit)] ?? false)) return false;
      this.#set.memoryBytes = bytes;
    }
    return true;
  }

  #resetPeak(): boolean {
    try {
      this.#peak?.write("0");
      return true;
    } catch {
      // Before Linux 6.12 the peak of version 2 stays for ever.
      return !this.#used;
    }
  }

  #limitPids(pids: number | undefined): void {
    this.#pids = pids;
    const dir = this.#limits.pids?.dir;
    if (dir === undefined || pids === this.#set.pids) return;
    if (tryWrite(join(dir, "pids.max"), pids === undefined ? "max" : String(pids))) {
      this.#set.pids = pids;
    }
  }

  #limitCpu(cpu: number | undefined): void {
    const root = this.#limits.cpu;
    if (root === undefined || cpu === this.#set.cpu) return;
    const quota = cpu === undefined ? undefined : Math.max(1_000, Math.round(cpu * cpuPeriodUs));
    const done =
      root.version === 1
        ? tryWrite(join(root.dir, "cpu.cfs_quota_us"), String(quota ?? -1))
        : tryWrite(join(root.dir, "cpu.max"), `${quota ?? "max"} ${cpuPeriodUs}`);
    if (done) this.#set.cpu = cpu;
  }

  /**
   * Puts a child that was started in `dir` under the limits of other hierarchies,
   * with whatever it has started since: on a busy machine a command may have a
   * moment before they hold. What an enrolled process starts is enrolled with it.
   */
  enroll(pid: number): void {
    const others = [...this.#others.values()].filter(({ resource }) => {
      return this.#set[setting[resource]] !== undefined;
    });
    if (others.length === 0) return;
    for (const other of others) other.file.tryWrite(String(pid));
    // Itself and no other: the usual case, and far cheaper to find out than who they are.
    if (this.#countsAtMost(1)) return;
    // One that was tried and is not there is ending: it can't be moved, and needn't be.
    const tried = new Set([pid]);
    const outside = (member: number) => others.some(({ dir }) => !membersOf(dir).includes(member));
    let emptyLooks = 0;
    for (let round = 0; round < enrollRounds; round += 1) {
      const members = this.members();
      const fresh = members.filter((member) => !tried.has(member) && outside(member));
      if (fresh.length === 0) {
        // Version 1 leaves out of a list whom it starts while it makes it.
        emptyLooks += 1;
        if (this.#countsAtMost(members.length) || emptyLooks === mostEmptyLooks) break;
        continue;
      }
      // Who starts processes faster than this must stop doing so for a moment.
      if (round === patientRounds) this.#forbidForks();
      for (const member of fresh) {
        tried.add(member);
        for (const other of others) other.file.tryWrite(String(member));
      }
    }
    this.#limitPids(this.#pids);
  }

  #forbidForks(): void {
    const dir = this.#limits.pids?.dir;
    if (dir === undefined) return;
    tryWrite(join(dir, "pids.max"), "0");
    delete this.#set.pids;
  }

  /** Processes that run in it; a zombie counts as gone. */
  members(): number[] {
    return membersOf(this.dir);
  }

  /**
   * Kills all that runs in it; resolves when nothing does. Calls share one effort,
   * so that none goes on when the lane is another attempt's.
   */
  kill(): Promise<void> {
    this.#killing ??= this.#killAll().finally(() => {
      this.#killing = undefined;
    });
    return this.#killing;
  }

  async #killAll(): Promise<void> {
    if (this.#isEmpty()) return;
    if (this.#version === 2) {
      tryWrite(join(this.dir, "cgroup.kill"), "1");
      // Linux 6.18 kills whatever is started in a group that was ever killed.
      this.#spent = true;
    } else {
      // Version 1 kills one by one: nothing may be started meanwhile.
      this.#forbidForks();
    }
    for (let round = 0; round < killRounds; round += 1) {
      if (this.#isEmpty()) return;
      if (this.#version === 1) killEach(this.members());
      await systemClock.wait(Math.min(1 + round, 20));
    }
    throw new Error(`processes in ${this.dir} outlive SIGKILL`);
  }

  #isEmpty(): boolean {
    this.#empty ||= this.#countsAtMost(0) || this.members().length === 0;
    return this.#empty;
  }

  /** False if there may be more processes and threads; zombies count. */
  #countsAtMost(most: number): boolean {
    try {
      return this.#count !== undefined && this.#count.number() <= most;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  #cpuUs(): number {
    return this.#version === 1 ? 0 : entry(join(this.dir, "cpu.stat"), "usage_usec");
  }

  /** CPU time of the attempt so far, in milliseconds; undefined if it isn't counted. */
  cpuMs(): number | undefined {
    if (this.#version === 1) return undefined;
    return Math.round((this.#cpuUs() - this.#cpuBeforeUs) / 1000);
  }

  /** Most memory of the attempt so far, in bytes; undefined if it isn't counted. */
  peakBytes(): number | undefined {
    try {
      return this.#peak?.number();
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  /**
   * True if the kernel ended a process of the attempt for its memory. The kernel
   * counts for the group's whole life, so such a lane is not used again.
   */
  ranOutOfMemory(peakBytes = this.peakBytes()): boolean {
    const memory = this.#limits.memory;
    const limit = this.#set.memoryBytes;
    if (memory === undefined || limit === undefined) return false;
    // The peak is cheap to read, and far from the limit it says enough.
    if ((peakBytes ?? limit) < limit - residueBytes) return false;
    const killed = entry(join(memory.dir, files[memory.version].events), "oom_kill") > 0;
    this.#spent ||= killed;
    return killed;
  }

  /** True if it can be used again: next to nothing of the former attempt is left. */
  isClean(): boolean {
    const peakBytes = this.peakBytes();
    if (this.#spent || !this.#isEmpty() || this.ranOutOfMemory(peakBytes)) return false;
    const memory = this.#limits.memory;
    if (memory === undefined || (peakBytes ?? Infinity) <= residueBytes) return true;
    const path = join(memory.dir, files[memory.version].current);
    const current = () => Number(readFileSync(path, "utf8"));
    if (current() <= residueBytes) return true;
    // Cached files go; what lies in a file system in memory stays.
    const reclaim = memory.version === 1 ? "memory.force_empty" : "memory.reclaim";
    tryWrite(join(memory.dir, reclaim), "1G");
    return current() <= residueBytes;
  }

  /** Takes it down, once; nothing may run in it. */
  remove(): Promise<void> {
    this.#removed ??= this.#takeDown();
    return this.#removed;
  }

  async #takeDown(): Promise<void> {
    this.#peak?.close();
    this.#count?.close();
    for (const { file } of this.#others.values()) file.close();
    for (const dir of this.dirs) await removeGroup(dir);
  }
}
