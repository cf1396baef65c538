/**
 * What can be done with names below an open directory. Each finds its place
 * part by part (`paths.ts`) and then makes one call of the kernel that follows
 * no link, so that what was checked is what is changed (S1). All throw
 * `SystemError`.
 */
import { FileType, statusIn, timePair, typeBits, type NewTime, type Status } from "./files.ts";
import { AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, E, O, SystemError, checked, kernel } from "./kernel.ts";
import { locate, readLink, withSlash, type Place } from "./paths.ts";

const newFileMode = 0o666;
const newDirectoryMode = 0o777;
const slash = 0x2f;

const lookup = (follow: boolean) => (follow ? "follow" : "slash");

export function createDirectory(root: number, path: Uint8Array): void {
  using found = locate(root, path, "keep");
  checked(kernel.mkdirat(found.directory, withSlash(found), newDirectoryMode));
}

export function removeDirectory(root: number, path: Uint8Array): void {
  using found = locate(root, path, "keep");
  checked(kernel.unlinkat(found.directory, withSlash(found), AT_REMOVEDIR));
}

export function removeFile(root: number, path: Uint8Array): void {
  using found = locate(root, path, "keep");
  checked(kernel.unlinkat(found.directory, withSlash(found), 0));
}

export function rename(
  fromRoot: number,
  fromPath: Uint8Array,
  toRoot: number,
  toPath: Uint8Array,
): void {
  using from = locate(fromRoot, fromPath, "keep");
  using to = locate(toRoot, toPath, "keep");
  checked(kernel.renameat(from.directory, withSlash(from), to.directory, withSlash(to)));
}

/** Another name for a file, or for a link itself. */
export function link(
  fromRoot: number,
  fromPath: Uint8Array,
  toRoot: number,
  toPath: Uint8Array,
): void {
  using from = locate(fromRoot, fromPath, "keep");
  using to = locate(toRoot, toPath, "keep");
  if (from.slash) throw new SystemError(E.NOTDIR);
  checked(kernel.linkat(from.directory, from.name, to.directory, withSlash(to), 0));
}

/**
 * A link. An absolute target is refused: it could never be followed here, and
 * the host's own tools would follow it out.
 */
export function symlink(target: Uint8Array, root: number, path: Uint8Array): void {
  if (target.includes(0)) throw new SystemError(E.INVAL);
  if (target[0] === slash) throw new SystemError(E.PERM);
  using made = locate(root, path, "keep");
  const ended = new Uint8Array(target.length + 1);
  ended.set(target);
  checked(kernel.symlinkat(ended, made.directory, withSlash(made)));
}

/** Where a link leads. */
export function linkTarget(root: number, path: Uint8Array): Uint8Array {
  using found = locate(root, path, "slash");
  const target = readLink(found.directory, found.name);
  if (target !== undefined) return target;
  // Not there, which this says, or no link.
  statusIn(found.directory, found.name);
  throw new SystemError(E.INVAL);
}

export function statusAt(root: number, path: Uint8Array, follow: boolean): Status {
  using found = locate(root, path, lookup(follow));
  const status = statusIn(found.directory, found.name);
  if (found.slash && typeBits(status.mode) !== FileType.DIRECTORY) {
    throw new SystemError(E.NOTDIR);
  }
  return status;
}

export function setTimesAt(
  root: number,
  path: Uint8Array,
  follow: boolean,
  accessed: NewTime,
  modified: NewTime,
): void {
  using found = locate(root, path, lookup(follow));
  const pair = timePair(accessed, modified);
  // The name is no link any more, or the link's own times are meant.
  checked(kernel.utimensat(found.directory, found.name, pair, AT_SYMLINK_NOFOLLOW));
}

export interface OpenRequest {
  read: boolean;
  write: boolean;
  create: boolean;
  exclusive: boolean;
  truncate: boolean;
  /** It must be a directory. */
  directory: boolean;
  follow: boolean;
  /** More flags of open(2), as `O.APPEND`. */
  more: number;
  /** Nothing below `root` may be changed. */
  readOnly: boolean;
}

/** Opens a file or directory; the descriptor is the caller's to close. */
export function open(root: number, path: Uint8Array, request: OpenRequest): number {
  using found = locate(root, path, lookup(request.follow));
  // Linux would make the file and only then refuse to see a directory in it.
  if (request.create && found.slash) throw new SystemError(E.ISDIR);
  const flags = openFlags(request, found);
  if (request.readOnly) return openReadOnly(found, flags, request);
  return checked(kernel.openat(found.directory, found.name, flags, newFileMode));
}

function openFlags(request: OpenRequest, { slash: mustBeDirectory }: Place): number {
  const { read, write, create, exclusive, truncate, directory, more } = request;
  return (
    (write ? (read ? O.RDWR : O.WRONLY) : O.RDONLY) |
    (create ? O.CREAT : 0) |
    (exclusive ? O.EXCL : 0) |
    (truncate ? O.TRUNC : 0) |
    (directory || mustBeDirectory ? O.DIRECTORY : 0) |
    more |
    O.NOFOLLOW |
    O.NOCTTY |
    O.CLOEXEC
  );
}

/** Nothing is made, emptied or opened for writing; a file that is there may be opened. */
function openReadOnly(found: Place, flags: number, request: OpenRequest): number {
  const { write, truncate, exclusive, create } = request;
  if (write || truncate || exclusive) throw new SystemError(E.ROFS);
  const opened = kernel.openat(found.directory, found.name, flags & ~O.CREAT, 0);
  if (opened < 0 && create) throw new SystemError(E.ROFS);
  return checked(opened);
}
