/**
 * ProcessAgent: runs a command as a process in a session of its own with a clean
 * environment, and ends the whole tree of what it started (T6): exactly and at
 * once where the kernel groups it, by a walk over all processes elsewhere.
 */
import { readFileSync } from "node:fs";
import { chmod, chown } from "node:fs/promises";
import type { NodeId } from "@spear/shared/ids.ts";
import type { Cgroups } from "../machine/cgroups.ts";
import {
  AgentFailure,
  type Agent,
  type AttemptContext,
  type PreparedAttempt,
  type RunningAttempt,
} from "./agent.ts";
import type { Account } from "./process/account.ts";
import type { Lane } from "./process/lane.ts";
import { clearGroup, Lanes } from "./process/lanes.ts";
import { planLaunch, type LaunchPolicy, type Sandbox } from "./process/launch.ts";
import { RunningProcess, type ProcessHandle } from "./process/running.ts";
import { sandboxWorks } from "./process/sandbox.ts";
import { killTree, sweepTrees } from "./process/tree.ts";
import { Warden } from "./process/warden.ts";

export interface ProcessOptions {
  nodeId: NodeId;
  /** The node's own directory, which no sandbox shows. */
  dataDir: string;
  /** What the node allows, the default first. */
  sandboxes: readonly Sandbox[];
  /** A sandbox may share the host's network, if the spec asks for it. */
  hostNetwork: boolean;
  /** Control groups to use, for tests; "none": none. Default: what the machine has. */
  groups?: Cgroups | "none";
}

/** Most processes and threads of an attempt that does not say. */
const defaultPids = 1_024;

export class ProcessAgent implements Agent {
  readonly runtime = "process";
  readonly #options: ProcessOptions;
  readonly #lanes: Lanes | undefined;
  readonly #warden: Warden;
  /** Attempts of this run, which a sweep spares. */
  readonly #live = new Set<RunningProcess>();
  #policy: LaunchPolicy | undefined;

  constructor(options: ProcessOptions) {
    this.#options = options;
    this.#lanes =
      options.groups === "none" ? undefined : Lanes.open(options.nodeId, options.groups);
    this.#warden = new Warden(options.nodeId, this.#lanes);
  }

  /** How a tree is ended: "cgroup2", "cgroup1" or "process-tree". */
  get killMethod(): string {
    return this.#lanes?.method ?? "process-tree";
  }

  /** The kernel's release; undefined if none of the sandboxes that are allowed works. */
  async probe(): Promise<string | undefined> {
    this.#policy ??= await this.#findPolicy();
    if (this.#policy.sandboxes.length === 0) return undefined;
    return readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
  }

  async #findPolicy(): Promise<LaunchPolicy> {
    const { sandboxes, hostNetwork, dataDir } = this.#options;
    const works = sandboxes.includes("namespace") && (await sandboxWorks());
    return {
      sandboxes: sandboxes.filter((sandbox) => sandbox === "none" || works),
      hostNetwork,
      dataDir,
    };
  }

  /**
   * Checks what the spec asks for. Throws `AgentFailure`: `sandbox_not_allowed`,
   * `network_not_allowed`, `user_not_allowed`, `user_not_found`; `groups_exhausted`
   * is the node's fault.
   */
  async prepare(context: AttemptContext): Promise<PreparedAttempt> {
    this.#policy ??= await this.#findPolicy();
    const launch = planLaunch(context, this.#policy);
    if (launch.account !== undefined) await handOver(context.workDir, launch.account);
    let lane = this.#acquire(context);
    let running: RunningProcess | undefined;
    return {
      start: () => {
        running = new RunningProcess(context, launch, lane);
        this.#live.add(running);
        return Promise.resolve<RunningAttempt>(running);
      },
      cleanup: async () => {
        const used = lane;
        lane = undefined;
        await used?.kill();
        if (running !== undefined) {
          await running.exit;
          this.#live.delete(running);
        }
        if (used !== undefined) this.#lanes?.release(used);
      },
    };
  }

  #acquire({ spec, limits }: AttemptContext): Lane | undefined {
    const { memoryBytes, pids = defaultPids } = limits;
    try {
      return this.#lanes?.acquire({
        // What is not asked for is a share, not a bound: an idle machine may be used.
        cpu: spec.resources?.cpu === undefined || limits.cpu === 0 ? undefined : limits.cpu,
        memoryBytes: memoryBytes === 0 ? undefined : memoryBytes,
        pids,
      });
    } catch (error) {
      throw new AgentFailure("groups_exhausted", "the node can't make another control group", {
        nodeFault: true,
        cause: error,
      });
    }
  }

  async reap(handle: string): Promise<void> {
    const left = JSON.parse(handle) as ProcessHandle;
    if (!("groups" in left)) return killTree(left);
    for (const group of left.groups) await clearGroup(group);
  }

  async sweep(): Promise<number> {
    const grouped = (await this.#lanes?.sweep()) ?? 0;
    const live = [...this.#live].map(({ id }) => id);
    return grouped + (await sweepTrees(this.#options.nodeId, live));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lanes?.[Symbol.asyncDispose]();
    this.#warden[Symbol.dispose]();
  }
}

/** The directory becomes the user's; this node's group may go through it. */
async function handOver(dir: string, { uid }: Account): Promise<void> {
  await chown(dir, uid, process.getgid?.() ?? 0);
  await chmod(dir, 0o710);
}
