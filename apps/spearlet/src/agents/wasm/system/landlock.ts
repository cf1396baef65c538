/**
 * The kernel's own wall round a guest's directories (Landlock): even the host's
 * code in this process can then open nothing else. What is open stays open. It
 * can't be taken back, so it is for a process that serves one guest.
 */
import { checked, kernel, scratch } from "./kernel.ts";

/** An open directory that stays reachable. */
export interface Reachable {
  fd: number;
  readOnly: boolean;
}

const askVersion = 1;
const pathBeneath = 1;
/** The first version that can allow renames between directories and watches truncation. */
const firstVersion = 3;

const EXECUTE = 1 << 0;
const READ_FILE = 1 << 2;
const READ_DIR = 1 << 3;
const MAKE_CHAR = 1 << 6;
const MAKE_BLOCK = 1 << 11;
/** Every access to files that version 3 knows. */
const everything = (1 << 15) - 1;
const readable = READ_FILE | READ_DIR;
const writable = everything & ~(EXECUTE | MAKE_CHAR | MAKE_BLOCK);

const attributes = scratch(16);

/** Leaves these directories and nothing else; false where the kernel can't. */
export function reachOnly(directories: readonly Reachable[]): boolean {
  if (kernel.landlock_create_ruleset(null, 0, askVersion) < firstVersion) return false;
  attributes.view.setBigUint64(0, BigInt(everything), true);
  const ruleset = checked(kernel.landlock_create_ruleset(attributes.address, 8, 0));
  try {
    for (const { fd, readOnly } of directories) {
      attributes.view.setBigUint64(0, BigInt(readOnly ? readable : writable), true);
      attributes.view.setInt32(8, fd, true);
      checked(kernel.landlock_add_rule(ruleset, pathBeneath, attributes.address, 0));
    }
    return kernel.landlock_restrict_self(ruleset, 0) === 0;
  } finally {
    kernel.close(ruleset);
  }
}
