/**
 * The host side of WASI 0.2 for one run of one component: what its imports
 * find. Network interfaces are there, so that a component that merely names them
 * can start, and refuse whatever is asked of them (S1).
 */
import { GuestExit, type GuestWorld } from "../guest.ts";
import { Clock, nowNs, stepNs } from "../system/clock.ts";
import type { Reachable } from "../system/landlock.ts";
import { openRoot } from "../system/paths.ts";
import { tape } from "../tape.ts";
import { Descriptor, DirectoryEntryStream, filesystemErrorCode } from "./files.ts";
import { hostInterfaces } from "./hostcalls.ts";
import { InputStream, IoError, OutputStream, Pollable, poll, writerOf } from "./io.ts";

const second = 1_000_000_000n;

/** An interface's functions and resource classes by the names that jco gives them. */
type Interface = Record<string, unknown>;

/** Name of the interface through which an adapted core module ends itself. */
export const processInterface = "spear:guest/process";

class TerminalInput {}
class TerminalOutput {}
class Network {}

/** Refuses as `wasi:sockets` wants it said. */
function accessDenied(): never {
  throw Object.assign(new Error("no network is granted"), { payload: "access-denied" });
}

/**
 * Any interface at all: each of its names is a function and a class, and using
 * one ends the guest.
 */
function refused(name: string): Interface {
  return new Proxy<Interface>(
    {},
    {
      get: (_target, member) =>
        class {
          constructor() {
            throw new Error(`${name}.${String(member)} is not granted to this task`);
          }
        },
    },
  );
}

function randomBytes(length: bigint): Uint8Array {
  const bytes = new Uint8Array(Number(length));
  for (let at = 0; at < bytes.length; at += 65_536) {
    const piece = bytes.subarray(at, at + 65_536);
    tape.random(piece, () => crypto.getRandomValues(piece));
  }
  return bytes;
}

function randomNumber(): bigint {
  return new DataView(randomBytes(8n).buffer).getBigUint64(0, true);
}

export class Preview2 implements Disposable {
  /** Bytes that the guest wrote to its own streams. */
  readonly written = { stdout: 0, stderr: 0 };
  /** How the guest ended itself. */
  exit: GuestExit | undefined;
  readonly #world: GuestWorld;
  readonly #preopens: [Descriptor, string][] = [];
  #stdin: Uint8Array;

  /** Opens the directories. Throws `SystemError` if one is not there. */
  constructor(world: GuestWorld) {
    this.#world = world;
    this.#stdin = world.stdin;
    for (const { guest, host, readOnly } of world.preopens) {
      const flags = { read: true, mutateDirectory: !readOnly };
      this.#preopens.push([new Descriptor(openRoot(host), flags, readOnly), guest]);
    }
  }

  #end(exitCode: number): never {
    this.exit = new GuestExit({ exitCode });
    throw this.exit;
  }

  #stdinStream(): InputStream {
    return new InputStream((size) => {
      const piece = this.#stdin.subarray(0, size);
      this.#stdin = this.#stdin.subarray(piece.length);
      return piece;
    });
  }

  /** The directories that were given, as the host has them open. */
  directories(): Reachable[] {
    return this.#preopens.map(([descriptor]) => descriptor.reachable());
  }

  /** The import of that name, without version; undefined if there is none. */
  find(name: string): Interface | undefined {
    if (/^wasi:(http|sockets)\//.test(name)) return this.#network(name);
    return this.#interfaces[name];
  }

  #network(name: string): Interface {
    switch (name) {
      case "wasi:sockets/network":
        return { Network, networkErrorCode: () => undefined };
      case "wasi:sockets/instance-network":
        return { instanceNetwork: () => new Network() };
      case "wasi:sockets/tcp-create-socket":
        return { createTcpSocket: accessDenied };
      case "wasi:sockets/udp-create-socket":
        return { createUdpSocket: accessDenied };
      case "wasi:sockets/ip-name-lookup":
        return { resolveAddresses: accessDenied, ResolveAddressStream: class {} };
      default:
        return refused(name);
    }
  }

  readonly #interfaces: Record<string, Interface> = {
    ...hostInterfaces,
    [processInterface]: { procExit: (code: number) => this.#end(code) },
    "wasi:cli/environment": {
      getArguments: () => [...this.#world.args],
      getEnvironment: () => Object.entries(this.#world.env),
      initialCwd: () => undefined,
    },
    "wasi:cli/exit": {
      exit: ({ tag }: { tag: "ok" | "err" }) => this.#end(tag === "ok" ? 0 : 1),
      exitWithCode: (code: number) => this.#end(code),
    },
    "wasi:cli/stdin": { getStdin: () => this.#stdinStream() },
    "wasi:cli/stdout": {
      getStdout: () => writerOf(1, (size) => (this.written.stdout += size)),
    },
    "wasi:cli/stderr": {
      getStderr: () => writerOf(2, (size) => (this.written.stderr += size)),
    },
    "wasi:cli/terminal-input": { TerminalInput },
    "wasi:cli/terminal-output": { TerminalOutput },
    "wasi:cli/terminal-stdin": { getTerminalStdin: () => undefined },
    "wasi:cli/terminal-stdout": { getTerminalStdout: () => undefined },
    "wasi:cli/terminal-stderr": { getTerminalStderr: () => undefined },
    "wasi:clocks/monotonic-clock": {
      now: () => nowNs(),
      resolution: () => stepNs(),
      subscribeInstant: (whenNs: bigint) => new Pollable(whenNs),
      subscribeDuration: (ns: bigint) => new Pollable(nowNs() + ns),
    },
    "wasi:clocks/wall-clock": {
      now: () => datetime(nowNs(Clock.REALTIME)),
      resolution: () => datetime(stepNs(Clock.REALTIME)),
    },
    "wasi:filesystem/preopens": { getDirectories: () => this.#preopens },
    "wasi:filesystem/types": { Descriptor, DirectoryEntryStream, filesystemErrorCode },
    "wasi:io/error": { Error: IoError },
    "wasi:io/poll": { Pollable, poll },
    "wasi:io/streams": { InputStream, OutputStream },
    "wasi:random/random": { getRandomBytes: randomBytes, getRandomU64: randomNumber },
    "wasi:random/insecure": {
      getInsecureRandomBytes: randomBytes,
      getInsecureRandomU64: randomNumber,
    },
    "wasi:random/insecure-seed": { insecureSeed: () => [randomNumber(), randomNumber()] },
  };

  [Symbol.dispose](): void {
    for (const [descriptor] of this.#preopens) descriptor[Symbol.dispose]();
  }
}

function datetime(ns: bigint): { seconds: bigint; nanoseconds: number } {
  return { seconds: ns / second, nanoseconds: Number(ns % second) };
}
