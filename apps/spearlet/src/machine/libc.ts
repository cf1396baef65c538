/** The calls of the C library that the platform has no way to say. Linux only. */
import { dlopen, FFIType, ptr } from "bun:ffi";

const O_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;
const F_SETFL = 4;

/** Numbers of the limits, as `prlimit` takes them. */
const limits = { data: 2, core: 4, processes: 6, files: 7 } as const;

function openLibrary() {
  const symbols = {
    fcntl: { args: ["i32", "i32", "i64"], returns: "i32" },
    pipe2: { args: ["ptr", "i32"], returns: "i32" },
    prlimit: { args: ["i32", "i32", "ptr", "ptr"], returns: "i32" },
    read: { args: ["i32", "ptr", "u64"], returns: FFIType.i64_fast },
    syscall: { args: ["i64", "i64", "i64", "i64", "i64", "i64"], returns: FFIType.i64_fast },
  } as const;
  try {
    return dlopen("libc.so.6", symbols);
  } catch {
    return dlopen(`libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`, symbols);
  }
}

let library: ReturnType<typeof openLibrary> | undefined;

/**
 * A pipe whose ends no child inherits by accident, and whose reading end never
 * blocks. Throws if there are no descriptors left.
 */
export function makePipe(): { readEnd: number; writeEnd: number } {
  library ??= openLibrary();
  const ends = new Int32Array(2);
  if (library.symbols.pipe2(ptr(ends), O_CLOEXEC) !== 0) {
    throw new Error("the node has no file descriptors left");
  }
  const [readEnd = -1, writeEnd = -1] = ends;
  library.symbols.fcntl(readEnd, F_SETFL, O_NONBLOCK);
  return { readEnd, writeEnd };
}

/**
 * Reads what is there now; undefined where nothing is, yet. Far cheaper than an
 * exception of the platform for that.
 */
export function readNow(fd: number, into: Uint8Array): number | undefined {
  library ??= openLibrary();
  const size = Number(library.symbols.read(fd, ptr(into), into.byteLength));
  return size < 0 ? undefined : size;
}

/** Sets a limit of a process that runs and of what it starts from now on; false if it is gone. */
export function limitProcess(pid: number, limit: keyof typeof limits, value: number): boolean {
  library ??= openLibrary();
  const both = BigUint64Array.of(BigInt(value), BigInt(value));
  return library.symbols.prlimit(pid, limits[limit], ptr(both), null) === 0;
}

/** Numbers of calls that older libraries don't know; the same on all architectures. */
const calls = { fsopen: 430, fsconfig: 431, fsmount: 432 } as const;

/** Makes a system call; a negative result is a failure. A text becomes a pointer to it. */
export function systemCall(
  name: keyof typeof calls,
  ...values: readonly (number | string)[]
): number {
  library ??= openLibrary();
  const texts = values.map((value) => Buffer.from(`${value}\0`));
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = values.map((value, index) =>
    typeof value === "number" ? value : ptr(texts[index] ?? Buffer.alloc(1)),
  );
  return Number(library.symbols.syscall(calls[name], a, b, c, d, e));
}
