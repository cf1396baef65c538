/**
 * The kernel's own wall round a guest's directories (Landlock): even the host's
 * code in this process can then open nothing else. What is open stays open. It
 * can't be taken back, so it is for a process that serves one guest.
 */
import { checked, libc, scratch } from "./libc.ts";

/** An open directory that stays reachable. */
export interface Reachable {
  fd: number;
  readOnly: boolean;
}

const createRuleset = 444;
const addRule = 445;
const restrictSelf = 446;
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
  if (Number(libc.syscall(createRuleset, 0, 0, askVersion, 0)) < firstVersion) return false;
  attributes.view.setBigUint64(0, BigInt(everything), true);
  const ruleset = checked(libc.syscall(createRuleset, attributes.address, 8, 0, 0));
  try {
    for (const { fd, readOnly } of directories) {
      attributes.view.setBigUint64(0, BigInt(readOnly ? readable : writable), true);
      attributes.view.setInt32(8, fd, true);
      checked(libc.syscall(addRule, ruleset, pathBeneath, attributes.address, 0));
    }
    return Number(libc.syscall(restrictSelf, ruleset, 0, 0, 0)) === 0;
  } finally {
    libc.close(ruleset);
  }
}
