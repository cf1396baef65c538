/**
 * The processes of an attempt, found without control groups: children of
 * children, the session, and whoever inherited the attempt's environment, which
 * also finds a grandchild that made a session of its own and lost its parent.
 */
import {
  allProcesses,
  environmentOf,
  isAlive,
  signal,
  type ProcessId,
} from "../../machine/proc.ts";
import { systemClock } from "@spear/shared/clock.ts";
import type { AttemptId } from "../../executions/attempt.ts";

/** How an attempt is recognised. */
export interface TreeRoot extends AttemptId {
  /** The command; also the leader of its session. */
  root: ProcessId;
}

const rounds = 200;
const pauseMs = 10;

/** Every process of the attempt that runs now. */
export function treeOf({ taskId, attempt, root }: TreeRoot): ProcessId[] {
  const all = allProcesses();
  const members = new Map<number, ProcessId>();
  // A process id that was given to somebody else since then is not ours, nor is its session.
  const sessionIsOurs = all.some(({ pid }) => pid === root.pid) ? isAlive(root) : true;
  for (const info of all) {
    if (info.startTicks < root.startTicks) continue;
    const inSession = sessionIsOurs && (info.session === root.pid || info.pid === root.pid);
    if (inSession || isMarked(info.pid, taskId, attempt)) members.set(info.pid, info);
  }
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

function isMarked(pid: number, taskId: string, attempt: number): boolean {
  const environment = environmentOf(pid);
  return (
    environment?.get("SPEAR_TASK_ID") === taskId &&
    environment.get("SPEAR_ATTEMPT") === String(attempt)
  );
}

/** Kills every process of the attempt; resolves when none is left. */
export async function killTree(root: TreeRoot): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const members = treeOf(root);
    if (members.length === 0) return;
    // Stopped first, none can fork out of the next look.
    for (const { pid } of members) signal(pid, "SIGSTOP");
    for (const { pid } of members) signal(pid, "SIGKILL");
    await systemClock.wait(pauseMs);
  }
  throw new Error("processes of the attempt outlive SIGKILL");
}
