/** The calls of the C library that the platform has no way to say. Linux only. */
import { dlopen, ptr } from "bun:ffi";

const O_CLOEXEC = 0o2000000;

/** Numbers of the limits, as `prlimit` takes them. */
const limits = { data: 2, core: 4, processes: 6, files: 7 } as const;

function openLibrary() {
  const symbols = {
    pipe2: { args: ["ptr", "i32"], returns: "i32" },
    prlimit: { args: ["i32", "i32", "ptr", "ptr"], returns: "i32" },
  } as const;
  try {
    return dlopen("libc.so.6", symbols);
  } catch {
    return dlopen(`libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`, symbols);
  }
}

let library: ReturnType<typeof openLibrary> | undefined;

/** A pipe whose ends no child inherits by accident. Throws if there are no descriptors left. */
export function makePipe(): { readEnd: number; writeEnd: number } {
  library ??= openLibrary();
  const ends = new Int32Array(2);
  if (library.symbols.pipe2(ptr(ends), O_CLOEXEC) !== 0) {
    throw new Error("the node has no file descriptors left");
  }
  return { readEnd: ends[0] ?? -1, writeEnd: ends[1] ?? -1 };
}

/** Sets a limit of a process that runs and of what it starts from now on; false if it is gone. */
export function limitProcess(pid: number, limit: keyof typeof limits, value: number): boolean {
  library ??= openLibrary();
  const both = BigUint64Array.of(BigInt(value), BigInt(value));
  return library.symbols.prlimit(pid, limits[limit], ptr(both), null) === 0;
}
