/**
 * Control groups as files: what is read and written, who runs in one, and taking
 * one down. What is gone meanwhile is no error.
 */
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { rmdir } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "@spear/shared/clock.ts";
import { signal } from "../../machine/proc.ts";

const removeRounds = 500;

/** A control file that stays open: opening costs more than writing, and a peak is its file's. */
export class ControlFile {
  readonly #fd: number;

  constructor(path: string, flags: "r" | "r+" | "w") {
    this.#fd = openSync(path, flags);
  }

  number(): number {
    const buffer = Buffer.alloc(32);
    return Number(buffer.toString("latin1", 0, readSync(this.#fd, buffer, 0, 32, 0)));
  }

  write(text: string): void {
    writeSync(this.#fd, text);
  }

  /** The same; what is gone meanwhile is no error. */
  tryWrite(text: string): void {
    try {
      this.write(text);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ESRCH" && !isGone(error)) throw error;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Writes a control file; false if it can't be. */
export function tryWrite(path: string, text: string): boolean {
  try {
    // Without O_CREAT and O_TRUNC, of which control files know nothing.
    writeFileSync(path, text, { flag: "r+" });
    return true;
  } catch {
    return false;
  }
}

/** The number behind a name in a file of names and numbers; 0 if there is none. */
export function entry(path: string, name: string): number {
  try {
    const text = readFileSync(path, "utf8");
    return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  } catch (error) {
    if (isGone(error)) return 0;
    throw error;
  }
}

/** Processes that run in a group; none in one that is gone. */
export function membersOf(dir: string): number[] {
  try {
    // Opened each time: version 1 answers from a copy while a file stays open.
    const text = readFileSync(join(dir, "cgroup.procs"), "utf8").trim();
    return text === "" ? [] : text.split("\n").map(Number);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** True if the error says that a group, or a process in it, is no longer there. */
export function isGone(error: unknown): boolean {
  const { code = "" } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENODEV";
}

/** Stopped first, none can start another out of reach of the next look. */
export function killEach(pids: readonly number[]): void {
  for (const pid of pids) signal(pid, "SIGSTOP");
  for (const pid of pids) signal(pid, "SIGKILL");
}

/** The kernel may need a moment to let go of a group whose processes have ended. */
export async function removeGroup(dir: string): Promise<void> {
  for (let round = 0; ; round += 1) {
    try {
      await rmdir(dir);
      return;
    } catch (error) {
      if (isGone(error)) return;
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EBUSY" || round === removeRounds) throw error;
      await systemClock.wait(Math.min(1 + round, 20));
    }
  }
}
