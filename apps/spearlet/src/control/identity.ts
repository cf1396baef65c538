/**
 * Who this node is: its id and its credential, made at the first start and kept in the
 * data directory for ever, and the lock that keeps a second SPEARlet out of the same directory.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { isId, type IdSource, type NodeId } from "@spear/shared/ids.ts";
import { isAlive, processInfo, type ProcessId } from "../machine/proc.ts";

/** The text of a file; undefined if it can't be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** A file is old or new, never half of it. */
function replace(path: string, text: string): void {
  const next = `${path}.new`;
  writeFileSync(next, text, { mode: 0o600 });
  renameSync(next, path);
}

/** The node's id: the one in the data directory, else a new one. */
export function nodeIdIn(dataDir: string, ids: IdSource): NodeId {
  const path = join(dataDir, "node-id");
  const kept = readText(path)?.trim();
  if (isId("node", kept)) return kept;
  const id = ids.next("node");
  replace(path, `${id}\n`);
  return id;
}

/** The secret by which SMS knows this node: the one in the data directory, else a new one. */
export function credentialIn(dataDir: string): string {
  const path = join(dataDir, "node-credential");
  const kept = readText(path)?.trim();
  if (kept !== undefined && kept !== "") return kept;
  const credential = randomBytes(32).toString("base64url");
  replace(path, `${credential}\n`);
  return credential;
}

/**
 * Which life of the cluster's data this node's attempts are of. Redis may lose its data:
 * then SMS begins a new life, and what the node held in the old one has no record any more.
 */
export class ClusterLife {
  readonly #path: string;
  #held: string;
  #current: string;

  constructor(dataDir: string) {
    this.#path = join(dataDir, "cluster-id");
    this.#held = this.#current = readText(this.#path)?.trim() ?? "";
  }

  /** That of what is held; empty before the first session. */
  get held(): string {
    return this.#held;
  }

  /** What SMS said when the node registered. */
  registered(clusterId: string): void {
    // A replica that has only just begun may not know yet.
    if (clusterId !== "") this.#current = clusterId;
  }

  /** SMS has judged what was held: all that is held from now on is of the current life. */
  settle(): void {
    if (this.#held === this.#current) return;
    replace(this.#path, `${this.#current}\n`);
    this.#held = this.#current;
  }
}

/**
 * Makes the data directory and takes its lock. Throws `conflict` if a SPEARlet
 * that is alive has it, `unavailable` if it can't be written.
 */
export function lockDataDir(dataDir: string): Disposable {
  const path = join(dataDir, "lock");
  const self = processInfo(process.pid);
  try {
    // Others may pass, so that a task of another user reaches its work directory.
    mkdirSync(dataDir, { recursive: true, mode: 0o711 });
    const holder = readHolder(path);
    if (holder !== undefined && isAlive(holder)) {
      throw new Fault("conflict", `process ${holder.pid} uses ${dataDir} already`, {
        field: "dataDir",
        help: "give each SPEARlet a directory of its own with --data-dir",
      });
    }
    replace(path, JSON.stringify({ pid: process.pid, startTicks: self?.startTicks }));
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault("unavailable", `can't write to ${dataDir}: ${(error as Error).message}`, {
      field: "dataDir",
      help: "choose a directory that this user may write to with --data-dir",
      cause: error,
    });
  }
  return { [Symbol.dispose]: () => rmSync(path, { force: true }) };
}

function readHolder(path: string): ProcessId | undefined {
  try {
    const { pid, startTicks } = JSON.parse(readText(path) ?? "") as Partial<ProcessId>;
    return typeof pid === "number" && typeof startTicks === "number"
      ? { pid, startTicks }
      : undefined;
  } catch {
    return undefined;
  }
}
