/**
 * Finds the place that a guest's path names, below an open directory and
 * nowhere else (S1). Each part is opened on its own, relative to the directory
 * before it and never through a link; a link is read and its parts are walked
 * like any other. `..` goes back to a directory that was opened on the way, so
 * a rename or a swapped link can't lead out, and above the first there is none.
 */
import { AT_FDCWD, E, O, SystemError, checked, kernel, scratch } from "./kernel.ts";

const SLASH = 0x2f;
const DOT = 0x2e;
const maxPathBytes = 4096;
const maxLinks = 40;

const linkBuffer = scratch(maxPathBytes);

/** A name in an open directory. Release it when done. */
export interface Place extends Disposable {
  /** Open directory; the caller must not close it. */
  readonly directory: number;
  /** One name, ended by NUL; "." if the path ends in the directory itself. */
  readonly name: Uint8Array;
  /** The path ended in a slash: it must name a directory. */
  readonly slash: boolean;
}

/** Splits at slashes; empty parts and "." fall away. */
function parts(path: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let from = 0; from < path.length;) {
    let to = path.indexOf(SLASH, from);
    if (to < 0) to = path.length;
    if (to > from && !(to === from + 1 && path[from] === DOT)) found.push(path.subarray(from, to));
    from = to + 1;
  }
  return found;
}

function isParent(part: Uint8Array): boolean {
  return part.length === 2 && part[0] === DOT && part[1] === DOT;
}

/** True if the path can only mean a directory: "a/", "a/.", "a/..", ".". */
function endsInDirectory(path: Uint8Array): boolean {
  const last = path.subarray(path.lastIndexOf(SLASH) + 1);
  return last.length === 0 || (last.length === 1 && last[0] === DOT) || isParent(last);
}

function named(part: Uint8Array): Uint8Array {
  const name = new Uint8Array(part.length + 1);
  name.set(part);
  return name;
}

const here = new Uint8Array([DOT, 0]);

/** Where a link leads; undefined if the name is no link or not there. */
export function readLink(directory: number, name: Uint8Array): Uint8Array | undefined {
  const size = kernel.readlinkat(directory, name, linkBuffer.address, maxPathBytes);
  if (size >= 0) return linkBuffer.bytes.slice(0, size);
  if (size === -E.INVAL || size === -E.NOENT) return undefined;
  throw new SystemError(-size);
}

class Walk implements Disposable {
  readonly #root: number;
  /** Directories opened on the way; each is the parent of the next. */
  readonly #opened: number[] = [];
  #links = 0;

  constructor(root: number) {
    this.#root = root;
  }

  get directory(): number {
    return this.#opened.at(-1) ?? this.#root;
  }

  enter(part: Uint8Array, rest: Uint8Array[]): void {
    if (isParent(part)) {
      const left = this.#opened.pop();
      if (left === undefined) throw new SystemError(E.PERM);
      kernel.close(left);
      return;
    }
    const name = named(part);
    const flags = O.PATH | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;
    const opened = kernel.openat(this.directory, name, flags, 0);
    if (opened >= 0) {
      this.#opened.push(opened);
      return;
    }
    if (opened !== -E.NOTDIR && opened !== -E.LOOP) throw new SystemError(-opened);
    const target = readLink(this.directory, name);
    if (target === undefined) throw new SystemError(-opened);
    this.follow(target, rest);
  }

  /** Puts the link's own parts in front of what is left. */
  follow(target: Uint8Array, rest: Uint8Array[]): void {
    if (++this.#links > maxLinks) throw new SystemError(E.LOOP);
    if (target[0] === SLASH) throw new SystemError(E.PERM);
    rest.unshift(...parts(target));
  }

  [Symbol.dispose](): void {
    for (const fd of this.#opened) kernel.close(fd);
    this.#opened.length = 0;
  }
}

/**
 * The place that `path` names below the open directory `root`. `last` says what
 * happens if it names a link: "follow" it, "keep" the link itself, or follow it
 * only if a trailing "slash" asks for the directory behind it.
 * Throws `SystemError`: EPERM for a path that leads out, ELOOP, ENOENT, ENOTDIR, …
 */
export function locate(root: number, path: Uint8Array, last: "follow" | "slash" | "keep"): Place {
  if (path.length === 0) throw new SystemError(E.NOENT);
  if (path.length >= maxPathBytes) throw new SystemError(E.NAMETOOLONG);
  if (path.includes(0)) throw new SystemError(E.INVAL);
  if (path[0] === SLASH) throw new SystemError(E.PERM);
  let slash = endsInDirectory(path);
  const walk = new Walk(root);
  try {
    const rest = parts(path);
    for (;;) {
      const part = rest.shift();
      if (part === undefined) return place(walk, here, true);
      if (rest.length > 0 || isParent(part)) {
        walk.enter(part, rest);
        continue;
      }
      const name = named(part);
      const target =
        last === "follow" || (last === "slash" && slash)
          ? readLink(walk.directory, name)
          : undefined;
      if (target === undefined) return place(walk, name, slash);
      slash ||= endsInDirectory(target);
      walk.follow(target, rest);
    }
  } catch (error) {
    walk[Symbol.dispose]();
    throw error;
  }
}

function place(walk: Walk, name: Uint8Array, slash: boolean): Place {
  return {
    directory: walk.directory,
    name,
    slash,
    [Symbol.dispose]: () => walk[Symbol.dispose](),
  };
}

/**
 * The name as the kernel should see it in a call that never follows the last
 * part, with the slash that makes it insist on a directory.
 */
export function withSlash({ name, slash }: Place): Uint8Array {
  if (!slash || name === here) return name;
  const long = new Uint8Array(name.length + 1);
  long.set(name);
  long[name.length - 1] = SLASH;
  return long;
}

/** Opens a host directory that a guest is given as a whole. Throws `SystemError`. */
export function openRoot(path: string): number {
  const name = new TextEncoder().encode(`${path}\0`);
  return checked(kernel.openat(AT_FDCWD, name, O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0));
}
