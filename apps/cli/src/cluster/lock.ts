/**
 * One cluster at a time in a data directory. The lock is SQLite's on a file: the
 * system takes it away with the process, however that ends.
 */
import { Fault } from "@spear/shared/fault.ts";
import { Database } from "bun:sqlite";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const addressFile = "cluster.json";

/** Takes the directory, and makes it where it is missing. Throws `conflict` if another cluster has it. */
export function lockDataDir(dir: string): Disposable {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new Fault("invalid_argument", `--data-dir: ${(error as Error).message}`, {
      field: "--data-dir",
      cause: error,
    });
  }
  const database = new Database(join(dir, "cluster.lock"));
  try {
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    throw new Fault("conflict", `another cluster runs in ${dir}${holderIn(dir)}`, {
      help: "stop it, or choose another --data-dir",
      cause: error,
    });
  }
  return { [Symbol.dispose]: () => database.close() };
}

function holderIn(dir: string): string {
  try {
    const { pid } = JSON.parse(readFileSync(join(dir, addressFile), "utf8")) as { pid?: number };
    return pid === undefined ? "" : ` (process ${pid})`;
  } catch {
    return "";
  }
}
