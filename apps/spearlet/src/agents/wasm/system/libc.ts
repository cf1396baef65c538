/**
 * The few calls of the C library that the child needs and Bun has no way to
 * say: everything relative to an open directory, vectored reads and writes
 * straight into guest memory, poll, and a process's own limits. Linux only.
 *
 * `errno` is read from the thread's own cell right behind a call, with nothing
 * in between that could make a system call.
 */
import { FFIType, dlopen, ptr, toArrayBuffer, type Pointer } from "bun:ffi";

const library = dlopen("libc.so.6", {
  __errno_location: { args: [], returns: "ptr" },
  _exit: { args: ["i32"], returns: "void" },
  clock_getres: { args: ["i32", "ptr"], returns: "i32" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i64"], returns: "i32" },
  fdatasync: { args: ["i32"], returns: "i32" },
  fsync: { args: ["i32"], returns: "i32" },
  ftruncate: { args: ["i32", "i64"], returns: "i32" },
  futimens: { args: ["i32", "ptr"], returns: "i32" },
  getdents64: { args: ["i32", "ptr", "u64"], returns: FFIType.i64_fast },
  getppid: { args: [], returns: "i32" },
  getrandom: { args: ["ptr", "u64", "u32"], returns: FFIType.i64_fast },
  getrusage: { args: ["i32", "ptr"], returns: "i32" },
  linkat: { args: ["i32", "ptr", "i32", "ptr", "i32"], returns: "i32" },
  lseek: { args: ["i32", "i64", "i32"], returns: FFIType.i64_fast },
  mkdirat: { args: ["i32", "ptr", "u32"], returns: "i32" },
  openat: { args: ["i32", "ptr", "i32", "u32"], returns: "i32" },
  posix_fadvise: { args: ["i32", "i64", "i64", "i32"], returns: "i32" },
  posix_fallocate: { args: ["i32", "i64", "i64"], returns: "i32" },
  ppoll: { args: ["ptr", "u64", "ptr", "ptr"], returns: "i32" },
  prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  pread: { args: ["i32", "ptr", "u64", "i64"], returns: FFIType.i64_fast },
  preadv: { args: ["i32", "ptr", "i32", "i64"], returns: FFIType.i64_fast },
  pwrite: { args: ["i32", "ptr", "u64", "i64"], returns: FFIType.i64_fast },
  pwritev: { args: ["i32", "ptr", "i32", "i64"], returns: FFIType.i64_fast },
  read: { args: ["i32", "ptr", "u64"], returns: FFIType.i64_fast },
  readlinkat: { args: ["i32", "ptr", "ptr", "u64"], returns: FFIType.i64_fast },
  readv: { args: ["i32", "ptr", "i32"], returns: FFIType.i64_fast },
  renameat: { args: ["i32", "ptr", "i32", "ptr"], returns: "i32" },
  sched_yield: { args: [], returns: "i32" },
  setrlimit: { args: ["i32", "ptr"], returns: "i32" },
  statx: { args: ["i32", "ptr", "i32", "u32", "ptr"], returns: "i32" },
  symlinkat: { args: ["ptr", "i32", "ptr"], returns: "i32" },
  syscall: { args: ["i64", "u64", "u64", "u64", "u64"], returns: FFIType.i64_fast },
  unlinkat: { args: ["i32", "ptr", "i32"], returns: "i32" },
  utimensat: { args: ["i32", "ptr", "ptr", "i32"], returns: "i32" },
  write: { args: ["i32", "ptr", "u64"], returns: FFIType.i64_fast },
  writev: { args: ["i32", "ptr", "i32"], returns: FFIType.i64_fast },
});

const { __errno_location: errnoLocation, _exit: exit, ...functions } = library.symbols;

/** The C library's functions. Those that fail return -1 and set `errno`. */
export const libc = functions;

/** Ends this process at once: nothing is flushed, nobody is called back. */
export function exitNow(code: number): never {
  exit(code);
  throw new Error("the process did not end");
}

const errnoAt = errnoLocation();
if (errnoAt === null) throw new Error("the C library has no errno");
const errnoCell = new Int32Array(toArrayBuffer(errnoAt, 0, 4));

/** Error number of the call just made. */
export function errno(): number {
  return errnoCell[0] ?? 0;
}

/** A system call that failed, with the kernel's error number. */
export class SystemError extends Error {
  readonly errno: number;

  constructor(number: number) {
    super(`system error ${number}`);
    this.name = "SystemError";
    this.errno = number;
  }
}

/** The result of a call, or its error thrown. */
export function checked(result: number | bigint): number {
  const value = Number(result);
  if (value < 0) throw new SystemError(errno());
  return value;
}

/** Error numbers of Linux that the code names. */
export const E = {
  PERM: 1,
  NOENT: 2,
  INTR: 4,
  BADF: 9,
  NOMEM: 12,
  EXIST: 17,
  NOTDIR: 20,
  ISDIR: 21,
  INVAL: 22,
  MFILE: 24,
  SPIPE: 29,
  ROFS: 30,
  PIPE: 32,
  NAMETOOLONG: 36,
  LOOP: 40,
  ILSEQ: 84,
} as const;

/** Flags of open(2); those that differ between architectures come from the table below. */
const arm = process.arch === "arm64";
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DSYNC: 0o10000,
  SYNC: 0o4010000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
  DIRECTORY: arm ? 0o40000 : 0o200000,
  NOFOLLOW: arm ? 0o100000 : 0o400000,
} as const;

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_EMPTY_PATH = 0x1000;

/** A buffer with an address, for the C library to read and fill. */
export interface Scratch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly address: Pointer;
}

/** `size` bytes of scratch memory; the address holds for as long as the object is kept. */
export function scratch(size: number): Scratch {
  const bytes = new Uint8Array(size);
  // Asking for the buffer moves the bytes to their final place: before the address is taken.
  const view = new DataView(bytes.buffer);
  return { bytes, view, address: ptr(bytes) };
}

/** The address `offset` bytes behind another. */
export function at(address: Pointer, offset: number): Pointer {
  return (address + offset) as Pointer;
}
