/**
 * System calls of Linux that Bun has no way to say: everything relative to an
 * open directory, vectored reads and writes straight into guest memory, poll,
 * and a process's own limits.
 *
 * Each is a stub of a few bytes of machine code, so that the kernel's answer
 * arrives whole: a failure is the negative error number. The C library would put
 * it into `errno`, where the engine's own calls can overwrite it before it is read.
 */
import { FFIType, dlopen, linkSymbols, ptr, toArrayBuffer, type Pointer } from "bun:ffi";

const arm = process.arch === "arm64";
const fd = "i32";
const result = FFIType.i64_fast;

/** Number on x64, number on arm64, arguments. */
const calls = {
  clock_getres: [229, 114, "i32", "ptr"],
  clock_gettime: [228, 113, "i32", "ptr"],
  close: [3, 57, fd],
  exit_group: [231, 94, "i32"],
  fadvise64: [221, 223, fd, "i64", "i64", "i32"],
  fallocate: [285, 47, fd, "i32", "i64", "i64"],
  fcntl: [72, 25, fd, "i32", "i64"],
  fdatasync: [75, 83, fd],
  fsync: [74, 82, fd],
  ftruncate: [77, 46, fd, "i64"],
  getdents64: [217, 61, fd, "ptr", "u64"],
  getppid: [110, 173],
  getrandom: [318, 278, "ptr", "u64", "u32"],
  getrusage: [98, 165, "i32", "ptr"],
  landlock_create_ruleset: [444, 444, "ptr", "u64", "u32"],
  landlock_add_rule: [445, 445, fd, "i32", "ptr", "u32"],
  landlock_restrict_self: [446, 446, fd, "u32"],
  linkat: [265, 37, fd, "ptr", fd, "ptr", "i32"],
  lseek: [8, 62, fd, "i64", "i32"],
  mkdirat: [258, 34, fd, "ptr", "u32"],
  openat: [257, 56, fd, "ptr", "i32", "u32"],
  ppoll: [271, 73, "ptr", "u64", "ptr", "ptr", "u64"],
  prctl: [157, 167, "i32", "u64", "u64", "u64", "u64"],
  pread64: [17, 67, fd, "ptr", "u64", "i64"],
  preadv: [295, 69, fd, "ptr", "u64", "i64", "u64"],
  prlimit64: [302, 261, "i32", "i32", "ptr", "ptr"],
  pwrite64: [18, 68, fd, "ptr", "u64", "i64"],
  pwritev: [296, 70, fd, "ptr", "u64", "i64", "u64"],
  read: [0, 63, fd, "ptr", "u64"],
  readlinkat: [267, 78, fd, "ptr", "ptr", "u64"],
  readv: [19, 65, fd, "ptr", "u64"],
  renameat: [264, 38, fd, "ptr", fd, "ptr"],
  sched_yield: [24, 124],
  seccomp: [317, 277, "u32", "u32", "ptr"],
  statx: [332, 291, fd, "ptr", "i32", "u32", "ptr"],
  symlinkat: [266, 36, "ptr", fd, "ptr"],
  unlinkat: [263, 35, fd, "ptr", "i32"],
  utimensat: [280, 88, fd, "ptr", "ptr", "i32"],
  write: [1, 64, fd, "ptr", "u64"],
  writev: [20, 66, fd, "ptr", "u64"],
} as const;

type Calls = typeof calls;
type Argument<T> = T extends "ptr" ? Pointer | Uint8Array | BigUint64Array | null : number | bigint;
type Arguments<T> = T extends readonly [number, number, ...infer A]
  ? { [K in keyof A]: Argument<A[K]> }
  : never;
/** Every call, answering with its result or the negative error number. */
type Kernel = { [K in keyof Calls]: (...values: Arguments<Calls[K]>) => number };

const stubBytes = 16;

/** The call with its number: arguments are in place but for the fourth, which x64 moves. */
function stub(number: number): number[] {
  const [low, high] = [number & 0xff, number >> 8];
  if (!arm) return [0x49, 0x89, 0xca, 0xb8, low, high, 0, 0, 0x0f, 0x05, 0xc3];
  const load = 0xd280_0008 | (number << 5);
  return [load, 0xd400_0001, 0xd65f_03c0].flatMap((word) =>
    [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff),
  );
}

const PROT_READ = 1;
const PROT_WRITE = 2;
const PROT_EXEC = 4;
const MAP_PRIVATE_ANONYMOUS = 0x22;

/** Puts the stubs into memory that can be run and no longer written. */
function linkCalls(): Kernel {
  const libc = dlopen("libc.so.6", {
    mmap: { args: ["u64", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" },
    mprotect: { args: ["ptr", "u64", "i32"], returns: "i32" },
  }).symbols;
  const entries = Object.entries(calls);
  const size = entries.length * stubBytes;
  const page = libc.mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  if (typeof page !== "number") throw new Error("no memory for system calls");
  const code = new Uint8Array(toArrayBuffer(page, 0, size));
  const symbols = entries.map(([name, [x64, arm64, ...args]], index) => {
    code.set(stub(arm ? arm64 : x64), index * stubBytes);
    return [name, { ptr: at(page, index * stubBytes), args, returns: result }] as const;
  });
  if (libc.mprotect(page, size, PROT_READ | PROT_EXEC) !== 0) {
    throw new Error("memory can't be made executable");
  }
  return linkSymbols(Object.fromEntries(symbols)).symbols as unknown as Kernel;
}

/** The kernel's calls. */
export const kernel = linkCalls();

/** Ends this process at once: nothing is flushed, nobody is called back. */
export function exitNow(code: number): never {
  kernel.exit_group(code);
  throw new Error("the process did not end");
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
export function checked(value: number): number {
  if (value < 0) throw new SystemError(-value);
  return value;
}

/** The same of a call that is made again for as long as a signal interrupts it. */
export function uninterrupted(call: () => number): number {
  for (;;) {
    const value = call();
    if (value !== -E.INTR) return checked(value);
  }
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

/** Flags of open(2). */
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
