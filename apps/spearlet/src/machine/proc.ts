/**
 * Processes as /proc shows them. A process is known by its id and its start
 * time, since ids are used again; a zombie counts as gone.
 */
import { readdirSync, readFileSync } from "node:fs";

/** A process that can't be mistaken for a later one with the same id. */
export interface ProcessId {
  pid: number;
  /** Clock ticks between boot and its start. */
  startTicks: number;
}

export interface ProcessInfo extends ProcessId {
  parent: number;
  session: number;
}

/** File of /proc as text; undefined if its process is gone. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** What /proc says of a process; undefined if it is gone or a zombie. */
export function processInfo(pid: number): ProcessInfo | undefined {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The name is in parentheses and may itself hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, parent, , session] = fields;
  if (state === "Z" || state === "X") return undefined;
  return {
    pid,
    parent: Number(parent),
    session: Number(session),
    startTicks: Number(fields[19]),
  };
}

/** True if that very process still runs. */
export function isAlive({ pid, startTicks }: ProcessId): boolean {
  return processInfo(pid)?.startTicks === startTicks;
}

/** Every process that runs. */
export function allProcesses(): ProcessInfo[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => processInfo(Number(name)))
    .filter((info) => info !== undefined);
}

/** Environment that a process was started with; undefined if it can't be read. */
export function environmentOf(pid: number): Map<string, string> | undefined {
  const text = read(`/proc/${pid}/environ`);
  if (text === undefined) return undefined;
  return new Map(
    text.split("\0").map((pair) => {
      const at = pair.indexOf("=");
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/** Sends a signal; false if the process is gone. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}
