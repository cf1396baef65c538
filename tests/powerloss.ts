/**
 * A disk that loses its power, made from a trace of system calls: what a process wrote
 * is kept apart by what was synced. A file's bytes survive if a sync of the file began
 * after they were written; a name, its renaming and its end survive if a sync of its
 * directory began after. Everything else is gone, or, in the other reading that a file
 * system may choose, names are there without their bytes.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

/** Put before a program's command: traces it into a file. The program stays the child. */
export function straceInto(path: string): string[] {
  const calls =
    "open,openat,write,pwrite64,writev,pwritev,ftruncate,truncate,fsync,fdatasync,rename,renameat,renameat2," +
    "unlink,unlinkat,mkdir,mkdirat,rmdir,sendto";
  return ["strace", "-D", "-f", "-y", "-xx", "-s", "400000", "-e", `trace=${calls}`, "-o", path]; // prettier-ignore
}

interface Call {
  readonly name: string;
  readonly args: string;
  result: number;
}

const whole = /^(\d+)\s+(\w+)\((.*)\)\s+= (-?\d+)/s;
const begun = /^(\d+)\s+(\w+)\((.*) <unfinished \.\.\.>$/s;
const resumed = /^(\d+)\s+<\.\.\. (\w+) resumed>(.*)\)\s+= (-?\d+)/s;

const unhex = (text: string) => Buffer.from(text.replaceAll(/\\x/g, ""), "hex");
/** The strings among a call's arguments. */
const strings = (args: string) => [...args.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, hex = ""]) => unhex(hex)); // prettier-ignore
/** The path behind the descriptor that a call begins with. */
const pathOfFd = (args: string) => unhex(/^(?:\d+|AT_FDCWD)<([^>]*)>/.exec(args)?.[1] ?? "").toString(); // prettier-ignore

interface File {
  bytes: Buffer;
  durable: Buffer;
}
type Entry = File | "directory";
type Names = Map<string, Entry>;

export class TracedDisk {
  readonly #root: string;
  /** Names as the process sees them, and as a sync of their directory has made them last. */
  readonly #names: Names = new Map();
  readonly #durable: Names = new Map();
  readonly #offsets = new Map<string, number>();
  readonly #open = new Map<string, Call>();
  /** What a sync that is under way will have made durable. */
  readonly #syncs = new Map<string, () => void>();
  /** Files whose name came by a rename before their bytes were safe. */
  readonly early: string[] = [];

  constructor(root: string) {
    this.#root = resolve(root);
    this.#durable.set(this.#root, "directory");
  }

  /** Takes a line of the trace; what was sent, as it begins to leave. */
  line(line: string): Buffer | undefined {
    const one = whole.exec(line);
    if (one !== null) {
      const [, pid = "", name = "", args = "", result = ""] = one;
      const call = { name, args, result: Number(result) };
      const sent = this.#begin(pid, call);
      this.#end(pid, call);
      return sent;
    }
    const start = begun.exec(line);
    if (start !== null) {
      const [, pid = "", name = "", args = ""] = start;
      const call = { name, args, result: 0 };
      this.#open.set(pid, call);
      return this.#begin(pid, call);
    }
    const end = resumed.exec(line);
    if (end === null) return undefined;
    const [, pid = "", , args = "", result = ""] = end;
    const call = this.#open.get(pid);
    this.#open.delete(pid);
    if (call !== undefined) {
      this.#end(pid, { name: call.name, args: call.args + args, result: Number(result) });
    }
    return undefined;
  }

  #begin(pid: string, { name, args }: Call): Buffer | undefined {
    if (name === "sendto") return strings(args)[0];
    if (name === "fsync" || name === "fdatasync")
      this.#syncs.set(pid, this.#snapshot(pathOfFd(args)));
    if (name.startsWith("rename")) {
      const file = this.#names.get(this.#paths(args)[0] ?? "");
      if (file !== undefined && file !== "directory" && !file.bytes.equals(file.durable)) {
        this.early.push(args);
      }
    }
    return undefined;
  }

  /** What a sync that begins now will have made durable. */
  #snapshot(path: string): () => void {
    const entry = this.#names.get(path);
    if (entry !== undefined && entry !== "directory") {
      const bytes = Buffer.from(entry.bytes);
      return () => (entry.durable = bytes);
    }
    const inside = [...this.#names].filter(([name]) => dirname(name) === path);
    return () => {
      for (const name of this.#durable.keys())
        if (dirname(name) === path) this.#durable.delete(name);
      for (const [name, kept] of inside) this.#durable.set(name, kept);
    };
  }

  /** The paths that a call names, each relative to the directory before it. */
  #paths(args: string): string[] {
    const named = /(?:(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>, )?"((?:\\x[0-9a-f]{2})*)"/g;
    return [...args.matchAll(named)].map(([, at = "", path = ""]) =>
      resolve(unhex(at).toString() || "/", unhex(path).toString()),
    );
  }

  #end(pid: string, { name, args, result }: Call): void {
    if (name === "fsync" || name === "fdatasync") {
      if (result === 0) this.#syncs.get(pid)?.();
      this.#syncs.delete(pid);
      return;
    }
    if (result < 0) return;
    const [path = "", to = ""] = /^(?:p?writev?(?:64)?|ftruncate)$/.test(name)
      ? [pathOfFd(args)]
      : this.#paths(args);
    if (path !== this.#root && !path.startsWith(`${this.#root}/`)) return;
    if (name.startsWith("mkdir")) this.#names.set(path, "directory");
    else if (name.startsWith("unlink") || name === "rmdir") this.#names.delete(path);
    else if (name.startsWith("rename")) {
      const entry = this.#names.get(path);
      if (entry !== undefined) this.#names.set(to, entry);
      this.#names.delete(path);
    } else if (name.startsWith("open")) this.#opened(path, args, result);
    else this.#changed(path, name, args);
  }

  #opened(path: string, args: string, fd: number): void {
    if (this.#names.get(path) === "directory" || args.includes("O_DIRECTORY")) return;
    this.#offsets.set(`${fd}`, 0);
    const file = this.#names.get(path);
    if (file === undefined && args.includes("O_CREAT")) {
      this.#names.set(path, { bytes: Buffer.alloc(0), durable: Buffer.alloc(0) });
    } else if (file !== undefined && file !== "directory" && args.includes("O_TRUNC")) {
      file.bytes = Buffer.alloc(0);
    }
  }

  #changed(path: string, name: string, args: string): void {
    const file = this.#names.get(path);
    if (file === undefined || file === "directory") return;
    const last = Number(/, (\d+)$/.exec(args)?.[1]);
    if (name.endsWith("truncate")) {
      file.bytes = Buffer.from(file.bytes.subarray(0, last));
      return;
    }
    const data = Buffer.concat(strings(args));
    const fd = /^\d+/.exec(args)?.[0] ?? "";
    const at = name.startsWith("p") ? last : (this.#offsets.get(fd) ?? 0);
    if (!name.startsWith("p")) this.#offsets.set(fd, at + data.length);
    const bytes = Buffer.alloc(Math.max(file.bytes.length, at + data.length));
    file.bytes.copy(bytes);
    data.copy(bytes, at);
    file.bytes = bytes;
  }

  /**
   * Writes below `target` what would be found if the power went now. `names`: "synced"
   * has the names whose directory was synced, "all" has every name that was made.
   */
  async lose(target: string, names: "synced" | "all"): Promise<void> {
    const found = names === "synced" ? this.#durable : this.#names;
    const reached = (path: string): boolean =>
      path === this.#root || (found.has(path) && reached(dirname(path)));
    for (const [path, entry] of [...found].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      if (!reached(path)) continue;
      const copy = join(target, path.slice(this.#root.length));
      if (entry === "directory") await mkdir(copy, { recursive: true });
      else await writeFile(copy, entry.durable);
    }
  }
}
