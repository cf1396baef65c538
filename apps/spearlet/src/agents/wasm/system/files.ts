/** Open files and directories of the host, in the terms that both WASI hosts need. */
import type { Pointer } from "bun:ffi";
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, checked, kernel, scratch } from "./kernel.ts";

/** What the kernel knows of a file; times in nanoseconds since 1970. */
export interface Status {
  /** Type and permissions, as in `st_mode`. */
  mode: number;
  device: bigint;
  inode: bigint;
  links: bigint;
  size: bigint;
  accessedNs: bigint;
  modifiedNs: bigint;
  changedNs: bigint;
}

/** A time to set in nanoseconds since 1970, the present one, or none. */
export type NewTime = bigint | "now" | "keep";

const typeMask = 0o170000;
/** The type bits of a mode, as `FileType.DIRECTORY`. */
export const FileType = {
  FIFO: 0o010000,
  CHARACTER_DEVICE: 0o020000,
  DIRECTORY: 0o040000,
  BLOCK_DEVICE: 0o060000,
  REGULAR: 0o100000,
  LINK: 0o120000,
  SOCKET: 0o140000,
} as const;

/** The type bits of a mode. */
export function typeBits(mode: number): number {
  return mode & typeMask;
}

const second = 1_000_000_000n;
const emptyPath = new Uint8Array(1);
const basicStats = 0x7ff;
const stat = scratch(256);
const times = scratch(32);
const utimeNow = 0x3fff_ffffn;
const utimeOmit = 0x3fff_fffen;
const entries = scratch(32 * 1024);
const SEEK_SET = 0;

function nanoseconds(at: number): bigint {
  return stat.view.getBigInt64(at, true) * second + BigInt(stat.view.getUint32(at + 8, true));
}

function read(directory: number, name: Uint8Array, flags: number): Status {
  checked(kernel.statx(directory, name, flags, basicStats, stat.address));
  const { view } = stat;
  return {
    mode: view.getUint16(28, true),
    device: (BigInt(view.getUint32(136, true)) << 32n) | BigInt(view.getUint32(140, true)),
    inode: view.getBigUint64(32, true),
    links: BigInt(view.getUint32(16, true)),
    size: view.getBigUint64(40, true),
    accessedNs: nanoseconds(64),
    modifiedNs: nanoseconds(112),
    changedNs: nanoseconds(96),
  };
}

/** What is known of an open file. */
export function statusOf(fd: number): Status {
  return read(fd, emptyPath, AT_EMPTY_PATH);
}

/** What is known of a name in a directory; of a link itself. */
export function statusIn(directory: number, name: Uint8Array): Status {
  return read(directory, name, AT_SYMLINK_NOFOLLOW);
}

/** The pair of times as the kernel takes it; good until the next use. */
export function timePair(accessed: NewTime, modified: NewTime): Pointer {
  const put = (at: number, time: NewTime) => {
    const exact = typeof time === "bigint";
    const special = time === "now" ? utimeNow : utimeOmit;
    times.view.setBigInt64(at, exact ? time / second : 0n, true);
    times.view.setBigInt64(at + 8, exact ? time % second : special, true);
  };
  put(0, accessed);
  put(16, modified);
  return times.address;
}

/** One entry of a directory. */
export interface Entry {
  /** Where the next one begins. */
  next: bigint;
  inode: bigint;
  /** Type bits, as in `FileType`. */
  type: number;
  name: Uint8Array;
}

/**
 * The entries of an open directory behind `cookie`, 0 for all, until `take` says
 * false. A name is good only within the call.
 */
export function eachEntry(fd: number, cookie: bigint, take: (entry: Entry) => boolean): void {
  checked(kernel.lseek(fd, cookie, SEEK_SET));
  for (;;) {
    const size = checked(kernel.getdents64(fd, entries.address, entries.bytes.length));
    if (size === 0) return;
    const { view, bytes } = entries;
    for (let at = 0; at < size; at += view.getUint16(at + 16, true)) {
      const name = bytes.subarray(at + 19, bytes.indexOf(0, at + 19));
      const entry = {
        next: view.getBigUint64(at + 8, true),
        inode: view.getBigUint64(at, true),
        type: typeInEntry(fd, view.getUint8(at + 18), name),
        name,
      };
      if (!take(entry)) return;
    }
  }
}

/** File systems may leave the type out of a directory's entries. */
function typeInEntry(fd: number, type: number, name: Uint8Array): number {
  if (type !== 0) return type << 12;
  const ended = new Uint8Array(name.length + 1);
  ended.set(name);
  return typeBits(statusIn(fd, ended).mode);
}
