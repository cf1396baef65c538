/**
 * The host side of WASI preview1: all 45 functions of `wasi_snapshot_preview1`
 * for one run of one guest. Nothing of the child's own environment, arguments
 * or descriptors is reachable but what the run was given (S1).
 */
import { GuestExit, type GuestWorld } from "../guest.ts";
import { SystemError, checked, kernel } from "../system/kernel.ts";
import type { Reachable } from "../system/landlock.ts";
import { openRoot } from "../system/paths.ts";
import { tape } from "../tape.ts";
import { Errno, errnoOf } from "./abi.ts";
import { clockNs, clockStepNs, restartClocks } from "./clocks.ts";
import { fdFunctions } from "./fd.ts";
import { hostFunctions, hostModule } from "./hostcalls.ts";
import { GuestMemory, WasiError } from "./memory.ts";
import { pathFunctions } from "./path.ts";
import { pollOneoff } from "./poll.ts";
import { Table } from "./table.ts";

/** preview1's signals by number; those whose default is to be ignored are undefined. */
const signals = [
  undefined,
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGILL",
  "SIGTRAP",
  "SIGABRT",
  "SIGBUS",
  "SIGFPE",
  "SIGKILL",
  "SIGUSR1",
  "SIGSEGV",
  "SIGUSR2",
  "SIGPIPE",
  "SIGALRM",
  "SIGTERM",
  undefined, // SIGCHLD
  undefined, // SIGCONT
  "SIGSTOP",
  "SIGTSTP",
  "SIGTTIN",
  "SIGTTOU",
  undefined, // SIGURG
  "SIGXCPU",
  "SIGXFSZ",
  "SIGVTALRM",
  "SIGPROF",
  undefined, // SIGWINCH
  "SIGPOLL",
  "SIGPWR",
  "SIGSYS",
];
const stopSignals = new Set(["SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"]);
/** What the platform gives at once. */
const maxRandomBytes = 65_536;

export class Preview1 implements Disposable {
  readonly memory = new GuestMemory();
  readonly table = new Table();
  /** What is left of standard input. */
  stdin: Uint8Array;
  /** Bytes that the guest wrote to its own streams. */
  readonly written = { stdout: 0, stderr: 0 };
  /** How the guest ended itself; once set, it is not called back. */
  exit: GuestExit | undefined;
  readonly #args: Uint8Array[];
  readonly #env: Uint8Array[];

  /** Opens the directories. Throws `SystemError` if one is not there. */
  constructor(world: GuestWorld) {
    const text = new TextEncoder();
    this.stdin = world.stdin;
    this.#args = world.args.map((argument) => text.encode(`${argument}\0`));
    this.#env = Object.entries(world.env).map(([name, value]) => text.encode(`${name}=${value}\0`));
    try {
      for (const { host, guest, readOnly } of world.preopens) {
        this.table.preopen(openRoot(host), guest, readOnly);
      }
    } catch (error) {
      this.table[Symbol.dispose]();
      throw error;
    }
    restartClocks();
  }

  /** The directories that were given, as the host has them open. */
  directories(): Reachable[] {
    return this.table.directories();
  }

  /** Everything that a guest can import, by module. */
  imports(): Record<string, Record<string, (...values: never[]) => number>> {
    const functions = {
      ...this.#processFunctions(),
      ...fdFunctions(this),
      ...pathFunctions(this),
    };
    return {
      wasi_snapshot_preview1: this.#allGuarded(functions),
      [hostModule]: this.#allGuarded(hostFunctions(this.memory)),
    };
  }

  #allGuarded(
    functions: Record<string, (...values: never[]) => number>,
  ): Record<string, (...values: never[]) => number> {
    return Object.fromEntries(
      Object.entries(functions).map(([name, call]) => [name, this.#guarded(call)]),
    );
  }

  /** A function that answers with an error code instead of throwing. */
  #guarded(call: (...values: never[]) => number): (...values: never[]) => number {
    return (...values) => {
      if (this.exit !== undefined) throw this.exit;
      try {
        return call(...values);
      } catch (error) {
        if (error instanceof SystemError) return errnoOf(error.errno);
        if (error instanceof WasiError) return error.code;
        throw error;
      }
    };
  }

  #end(how: { exitCode: number } | { signal: string }): never {
    this.exit = new GuestExit(how);
    throw this.exit;
  }

  #writeStrings(strings: readonly Uint8Array[], pointers: number, buffer: number): number {
    let at = buffer >>> 0;
    for (const [index, string] of strings.entries()) {
      this.memory.setU32((pointers >>> 0) + index * 4, at);
      this.memory.bytes(at, string.length).set(string);
      at += string.length;
    }
    return Errno.SUCCESS;
  }

  #writeSizes(strings: readonly Uint8Array[], count: number, bytes: number): number {
    this.memory.setU32(count, strings.length);
    this.memory.setU32(
      bytes,
      strings.reduce((total, string) => total + string.length, 0),
    );
    return Errno.SUCCESS;
  }

  /** Without a network no socket can be had: every descriptor is something else. */
  #noSocket(fd: number): number {
    this.table.get(fd);
    return Errno.NOTSOCK;
  }

  #processFunctions() {
    return {
      args_get: (pointers: number, buffer: number) =>
        this.#writeStrings(this.#args, pointers, buffer),
      args_sizes_get: (count: number, bytes: number) => this.#writeSizes(this.#args, count, bytes),
      environ_get: (pointers: number, buffer: number) =>
        this.#writeStrings(this.#env, pointers, buffer),
      environ_sizes_get: (count: number, bytes: number) =>
        this.#writeSizes(this.#env, count, bytes),

      clock_res_get: (clock: number, out: number) => {
        this.memory.setU64(out, clockStepNs(clock));
        return Errno.SUCCESS;
      },
      clock_time_get: (clock: number, _precision: bigint, out: number) => {
        this.memory.setU64(out, clockNs(clock));
        return Errno.SUCCESS;
      },

      poll_oneoff: (subscriptions: number, events: number, count: number, out: number) =>
        pollOneoff(this, subscriptions, events, count, out),

      proc_exit: (code: number): number => this.#end({ exitCode: code }),
      proc_raise: (number: number): number => {
        if (number < 0 || number >= signals.length) return Errno.INVAL;
        const signal = signals[number];
        if (signal === undefined) return Errno.SUCCESS;
        if (stopSignals.has(signal)) return Errno.NOTSUP;
        return this.#end({ signal });
      },

      random_get: (out: number, length: number) => {
        const size = length >>> 0;
        for (let done = 0; done < size;) {
          const piece = Math.min(size - done, maxRandomBytes);
          const bytes = this.memory.bytes((out >>> 0) + done, piece);
          tape.random(bytes, () => crypto.getRandomValues(bytes));
          done += piece;
        }
        return Errno.SUCCESS;
      },

      sched_yield: () => {
        checked(kernel.sched_yield());
        return Errno.SUCCESS;
      },

      sock_accept: (fd: number) => this.#noSocket(fd),
      sock_recv: (fd: number) => this.#noSocket(fd),
      sock_send: (fd: number) => this.#noSocket(fd),
      sock_shutdown: (fd: number) => this.#noSocket(fd),
    };
  }

  [Symbol.dispose](): void {
    this.table[Symbol.dispose]();
  }
}
