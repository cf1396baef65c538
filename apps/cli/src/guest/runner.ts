/**
 * Runs a script inside of a component: what `spear build` puts a user's code into.
 * The JavaScript engine with this file in it is made once and kept; a script is
 * then written over `slot`, in place, so that a build takes no compiler.
 *
 * A script finds a small part of Node.js: `process` and `node:fs`, synchronous, on
 * the task's own directory. It is a CommonJS module by now, whatever it was written
 * as; `main`, or its default export, is called with the arguments.
 */
import { getArguments, getEnvironment } from "wasi:cli/environment@0.2.3";
import { exitWithCode } from "wasi:cli/exit@0.2.3";
import { getStderr } from "wasi:cli/stderr@0.2.3";
import { getStdin } from "wasi:cli/stdin@0.2.3";
import { getStdout } from "wasi:cli/stdout@0.2.3";
import { getDirectories, type Descriptor } from "wasi:filesystem/preopens@0.2.3";

declare const SLOT_BYTES: number;
declare const SLOT_MARK: string;
declare const SLOT_FILL: number;

const pieceBytes = 64 * 1024;
const mostPerWrite = 4096;
const encoder = new TextEncoder();

/** The mark, the script's length, the script. Never empty, or it would not be in the file. */
const slot = new Uint8Array(SLOT_BYTES).fill(SLOT_FILL);
slot.set(encoder.encode(SLOT_MARK));

function script(): string {
  const at = SLOT_MARK.length;
  const length = new DataView(slot.buffer).getUint32(at, true);
  if (length > slot.length) throw new Error("there is no script in this component");
  return new TextDecoder().decode(slot.subarray(at + 4, at + 4 + length));
}

const bytesOf = (data: string | Uint8Array) =>
  typeof data === "string" ? encoder.encode(data) : data;

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Text where an encoding is given, as Node.js does it. */
function decoded(bytes: Uint8Array, how?: string | { encoding?: string }): string | Uint8Array {
  const encoding = typeof how === "string" ? how : how?.encoding;
  return encoding === undefined ? bytes : new TextDecoder(encoding as Bun.Encoding).decode(bytes);
}

function readStdin(): Uint8Array {
  const stdin = getStdin();
  const pieces: Uint8Array[] = [];
  for (;;) {
    try {
      pieces.push(stdin.blockingRead(BigInt(pieceBytes)));
    } catch {
      return joined(pieces);
    }
  }
}

const words: Record<string, string> = {
  "no-entry": "ENOENT",
  exist: "EEXIST",
  "is-directory": "EISDIR",
  "not-directory": "ENOTDIR",
  "not-empty": "ENOTEMPTY",
  "read-only": "EROFS",
  "not-permitted": "EPERM",
  access: "EACCES",
};

/** Calls with the directory that holds the path; its errors as Node.js names them. */
function at<T>(path: string, call: (root: Descriptor, below: string) => T): T {
  const [root] = getDirectories()[0] ?? [];
  const below = path.replace(/^\/+/, "") || ".";
  try {
    if (root === undefined) throw Object.assign(new Error(), { payload: "access" });
    return call(root, below);
  } catch (error) {
    const said = String((error as { payload?: unknown }).payload);
    const code = words[said] ?? said;
    throw Object.assign(new Error(`${code}: ${path}`), { code, path });
  }
}

function readFileSync(path: string | number, how?: string | { encoding?: string }) {
  if (path === 0 || path === "/dev/stdin") return decoded(readStdin(), how);
  const bytes = at(String(path), (root, below) => {
    const file = root.openAt({ symlinkFollow: true }, below, {}, { read: true });
    const pieces: Uint8Array[] = [];
    for (let offset = 0; ;) {
      const [piece, ended] = file.read(BigInt(pieceBytes), BigInt(offset));
      pieces.push(piece);
      offset += piece.length;
      if (ended || piece.length === 0) return joined(pieces);
    }
  });
  return decoded(bytes, how);
}

function write(path: string, data: string | Uint8Array): void {
  const bytes = bytesOf(data);
  at(path, (root, below) => {
    const opening = { create: true, truncate: true };
    const file = root.openAt({ symlinkFollow: true }, below, opening, { write: true });
    for (let offset = 0; offset < bytes.length;) {
      offset += Number(file.write(bytes.subarray(offset, offset + pieceBytes), BigInt(offset)));
    }
  });
}

function existsSync(path: string): boolean {
  try {
    at(path, (root, below) => root.openAt({ symlinkFollow: true }, below, {}, { read: true }));
    return true;
  } catch {
    return false;
  }
}

function readdirSync(path: string): string[] {
  return at(path, (root, below) => {
    const opening = { directory: true };
    const entries = root.openAt({ symlinkFollow: true }, below, opening, { read: true });
    const stream = entries.readDirectory();
    const names: string[] = [];
    for (let entry = stream.readDirectoryEntry(); entry; entry = stream.readDirectoryEntry()) {
      names.push(entry.name);
    }
    return names.toSorted();
  });
}

const fs = {
  readFileSync,
  writeFileSync: write,
  existsSync,
  readdirSync,
  mkdirSync: (path: string) => at(path, (root, below) => root.createDirectoryAt(below)),
  rmdirSync: (path: string) => at(path, (root, below) => root.removeDirectoryAt(below)),
  unlinkSync: (path: string) => at(path, (root, below) => root.unlinkFileAt(below)),
};

function say(stream: ReturnType<typeof getStdout>, data: string | Uint8Array): true {
  const bytes = bytesOf(data);
  for (let from = 0; from < bytes.length; from += mostPerWrite) {
    stream.blockingWriteAndFlush(bytes.subarray(from, from + mostPerWrite));
  }
  return true;
}

function makeProcess() {
  return {
    argv: ["spear", ...getArguments()],
    env: Object.fromEntries(getEnvironment()),
    exitCode: undefined as number | undefined,
    exit: (code?: number) => exitWithCode((code ?? self.process.exitCode ?? 0) & 0xff),
    cwd: () => "/",
    stdout: { write: (data: string | Uint8Array) => say(getStdout(), data) },
    stderr: { write: (data: string | Uint8Array) => say(getStderr(), data) },
  };
}

const self = globalThis as unknown as { process: ReturnType<typeof makeProcess> };

function require(name: string): unknown {
  if (name === "node:fs" || name === "fs") return fs;
  if (name === "node:process" || name === "process") return self.process;
  throw new Error(`a task can't import ${name}`);
}

/** Calls the script's code as a CommonJS module, and then what it exports by default. */
async function main(): Promise<number> {
  self.process = makeProcess();
  const module = { exports: {} as { main?: unknown; default?: unknown } };
  // eslint-disable-next-line no-eval -- it is this component's own code, and has what the guest has
  const body = (0, eval)(`(function (module, exports, require) {${script()}\n})`) as (
    ...values: unknown[]
  ) => void;
  body(module, module.exports, require);
  const start = module.exports.main ?? module.exports.default;
  const result: unknown =
    typeof start === "function"
      ? await (start as (args: string[]) => unknown)(getArguments().slice(1))
      : undefined;
  return typeof result === "number" ? result : (self.process.exitCode ?? 0);
}

export const run = {
  async run(): Promise<void> {
    let code: number;
    try {
      code = await main();
    } catch (error) {
      const told =
        error instanceof Error ? `${error.name}: ${error.message}\n${error.stack}` : String(error);
      say(getStderr(), `${told}\n`);
      code = 1;
    }
    if (code !== 0) exitWithCode(code & 0xff);
  },
};
