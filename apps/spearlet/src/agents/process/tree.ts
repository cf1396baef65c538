/**
 * The processes of an attempt, found without control groups: children of
 * children, the session, and whoever inherited the attempt's environment, which
 * also finds a grandchild that made a session of its own and lost its parent.
 */
import { systemClock } from "@spear/shared/clock.ts";
import type { NodeId } from "@spear/shared/ids.ts";
import { attemptKey, type AttemptId } from "../../executions/attempt.ts";
import {
  allProcesses,
  environmentOf,
  isAlive,
  signal,
  type ProcessId,
  type ProcessInfo,
} from "../../machine/proc.ts";

/** How an attempt is recognised. */
export interface TreeRoot extends AttemptId {
  /** The command; also the leader of its session. */
  root: ProcessId;
}

/** In the environment of every process that this agent starts, beside the task's. */
export const mark = { SPEAR_RUNTIME: "process" } as const;

const killRounds = 200;
const pauseMs = 10;
const sweepLooks = 3;

/** The attempt that a process says it belongs to. */
interface Marks {
  nodeId: string | undefined;
  key: string;
}

function marksOf(pid: number): Marks | undefined {
  const environment = environmentOf(pid);
  if (environment?.get("SPEAR_RUNTIME") !== mark.SPEAR_RUNTIME) return undefined;
  return {
    nodeId: environment.get("SPEAR_NODE_ID"),
    key: `${environment.get("SPEAR_TASK_ID")}-${environment.get("SPEAR_ATTEMPT")}`,
  };
}

/** Every process of the attempt that runs now. */
export function treeOf(attempt: TreeRoot): ProcessId[] {
  const { root } = attempt;
  const all = allProcesses();
  // An id that was given to somebody else since then is not ours, nor is its session.
  const taken = all.some(({ pid }) => pid === root.pid) && !isAlive(root);
  return withChildren(all, ({ pid, session, startTicks }) => {
    if (startTicks < root.startTicks) return false;
    if (!taken && (pid === root.pid || session === root.pid)) return true;
    return marksOf(pid)?.key === attemptKey(attempt);
  });
}

function withChildren(
  all: readonly ProcessInfo[],
  belongs: (info: ProcessInfo) => boolean,
): ProcessId[] {
  const members = new Map(all.filter(belongs).map((info) => [info.pid, info]));
  for (let grown = true; grown;) {
    grown = false;
    for (const info of all) {
      if (members.has(info.pid) || !members.has(info.parent)) continue;
      members.set(info.pid, info);
      grown = true;
    }
  }
  return [...members.values()];
}

/** Kills every process of the attempt; resolves when none is left. */
export async function killTree(attempt: TreeRoot): Promise<void> {
  await killFound(() => treeOf(attempt));
}

/**
 * Kills what the node's process agent has ever started and `live` does not hold;
 * resolves with how many processes there were.
 */
export function sweepTrees(nodeId: NodeId, live: readonly AttemptId[]): Promise<number> {
  const spared = new Set(live.map(attemptKey));
  const strays = () =>
    withChildren(allProcesses(), ({ pid }) => {
      const marks = marksOf(pid);
      return marks?.nodeId === nodeId && !spared.has(marks.key);
    });
  return killFound(strays, sweepLooks);
}

/**
 * `looks`: how often in a row nothing must be found. A process shows no environment
 * while it takes up another program.
 */
async function killFound(find: () => ProcessId[], looks = 1): Promise<number> {
  const killed = new Set<number>();
  for (let round = 0, empty = 0; round < killRounds; round += 1) {
    const found = find();
    empty = found.length === 0 ? empty + 1 : 0;
    if (empty === looks) return killed.size;
    // Stopped first, none can fork out of the next look.
    for (const { pid } of found) signal(pid, "SIGSTOP");
    for (const { pid } of found) {
      signal(pid, "SIGKILL");
      killed.add(pid);
    }
    await systemClock.wait(pauseMs);
  }
  throw new Error("processes outlive SIGKILL");
}
