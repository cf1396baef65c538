/**
 * `path_*`: what a guest does with names below a directory it has. Each finds
 * its place part by part (`paths.ts`) and then makes one call of the kernel
 * that follows no link, so that what was checked is what is changed.
 */
import { AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, E, O, SystemError, checked, libc } from "../libc.ts";
import { locate, readLink, withSlash, type Place } from "../paths.ts";
import {
  Errno,
  Filetype,
  LOOKUP_SYMLINK_FOLLOW,
  Oflag,
  Right,
  directoryRights,
  fileRights,
  writeRights,
} from "./abi.ts";
import { openFlagsOf, timesOf, typeOf, writeFilestat } from "./fd.ts";
import { WasiError } from "./memory.ts";
import type { Preview1 } from "./host.ts";

const newFileMode = 0o666;
const newDirectoryMode = 0o777;
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** A path out of guest memory, as a copy. Throws `ilseq` if it is no UTF-8. */
function pathOf({ memory }: Preview1, at: number, length: number): Uint8Array {
  const bytes = memory.bytes(at, length).slice();
  try {
    utf8.decode(bytes);
  } catch {
    throw new WasiError(Errno.ILSEQ);
  }
  return bytes;
}

/** A stat or a change of times asks for a directory where the path ended in a slash. */
function demandDirectory({ slash }: Place, type: number): void {
  if (slash && type !== Filetype.DIRECTORY) throw new WasiError(Errno.NOTDIR);
}

const lookup = (flags: number) => (flags & LOOKUP_SYMLINK_FOLLOW ? "follow" : "slash");

/** Flags of open(2) for a request of `path_open`. */
function openFlags(oflags: number, rights: number, fdflags: number, slash: boolean): number {
  const reads = (rights & Right.FD_READ) !== 0;
  const writes = (rights & Right.FD_WRITE) !== 0;
  return (
    (writes ? (reads ? O.RDWR : O.WRONLY) : O.RDONLY) |
    (oflags & Oflag.CREAT ? O.CREAT : 0) |
    (oflags & Oflag.EXCL ? O.EXCL : 0) |
    (oflags & Oflag.TRUNC ? O.TRUNC : 0) |
    (oflags & Oflag.DIRECTORY || slash ? O.DIRECTORY : 0) |
    openFlagsOf(fdflags) |
    O.NOFOLLOW |
    O.NOCTTY |
    O.CLOEXEC
  );
}

/** What `path_open` needs of the directory it starts from. */
function neededRights(oflags: number): number {
  return (
    Right.PATH_OPEN |
    (oflags & Oflag.CREAT ? Right.PATH_CREATE_FILE : 0) |
    (oflags & Oflag.TRUNC ? Right.PATH_FILESTAT_SET_SIZE : 0)
  );
}

/** Opens a place. In a read-only directory nothing is made, emptied or opened for writing. */
function openAt(found: Place, oflags: number, flags: number, readOnly: boolean): number {
  const makes = (oflags & Oflag.CREAT) !== 0;
  // Linux would make the file and only then refuse to see a directory in it.
  if (makes && found.slash) throw new SystemError(E.ISDIR);
  if (!readOnly) return checked(libc.openat(found.directory, found.name, flags, newFileMode));
  const changes = (flags & (O.WRONLY | O.RDWR | O.TRUNC)) !== 0;
  if (changes || (oflags & Oflag.EXCL) !== 0) throw new SystemError(E.ROFS);
  const opened = libc.openat(found.directory, found.name, flags & ~O.CREAT, 0);
  if (opened < 0 && makes) throw new SystemError(E.ROFS);
  return checked(opened);
}

export function pathFunctions(wasi: Preview1) {
  const { table, memory } = wasi;
  return {
    path_create_directory(fd: number, path: number, length: number): number {
      const { host } = table.writable(fd, Right.PATH_CREATE_DIRECTORY);
      using found = locate(host, pathOf(wasi, path, length), "keep");
      checked(libc.mkdirat(found.directory, withSlash(found), newDirectoryMode));
      return Errno.SUCCESS;
    },

    path_filestat_get(
      fd: number,
      flags: number,
      path: number,
      length: number,
      out: number,
    ): number {
      const { host } = table.directory(fd, Right.PATH_FILESTAT_GET);
      using found = locate(host, pathOf(wasi, path, length), lookup(flags));
      const type = writeFilestat(wasi, found.directory, found.name, AT_SYMLINK_NOFOLLOW, out);
      demandDirectory(found, type);
      return Errno.SUCCESS;
    },

    path_filestat_set_times(
      fd: number,
      flags: number,
      path: number,
      length: number,
      atim: bigint,
      mtim: bigint,
      fstflags: number,
    ): number {
      const { host } = table.writable(fd, Right.PATH_FILESTAT_SET_TIMES);
      const times = timesOf(atim, mtim, fstflags);
      using found = locate(host, pathOf(wasi, path, length), lookup(flags));
      // The name is still no link, or the call changes the link itself.
      checked(libc.utimensat(found.directory, found.name, times, AT_SYMLINK_NOFOLLOW));
      return Errno.SUCCESS;
    },

    path_link(
      oldFd: number,
      flags: number,
      oldPath: number,
      oldLength: number,
      newFd: number,
      newPath: number,
      newLength: number,
    ): number {
      const from = table.writable(oldFd, Right.PATH_LINK_SOURCE);
      const to = table.writable(newFd, Right.PATH_LINK_TARGET);
      if ((flags & LOOKUP_SYMLINK_FOLLOW) !== 0) return Errno.INVAL;
      using old = locate(from.host, pathOf(wasi, oldPath, oldLength), "keep");
      using made = locate(to.host, pathOf(wasi, newPath, newLength), "keep");
      if (old.slash) return Errno.NOTDIR;
      checked(libc.linkat(old.directory, old.name, made.directory, withSlash(made), 0));
      return Errno.SUCCESS;
    },

    path_open(
      fd: number,
      dirflags: number,
      path: number,
      length: number,
      oflags: number,
      base: bigint,
      inheriting: bigint,
      fdflags: number,
      out: number,
    ): number {
      const parent = table.directory(fd, neededRights(oflags));
      if ((oflags & ~15) !== 0 || (fdflags & ~31) !== 0) return Errno.INVAL;
      if (oflags & Oflag.CREAT && oflags & Oflag.DIRECTORY) return Errno.INVAL;
      // A right that the parent does not pass on is left out, as hosts without rights would.
      const asked = Number(BigInt.asUintN(30, base)) & parent.inheriting;
      using found = locate(parent.host, pathOf(wasi, path, length), lookup(dirflags));
      const flags = openFlags(oflags, asked, fdflags, found.slash);
      const host = openAt(found, oflags, flags, parent.readOnly);
      const type = typeOf(host);
      const possible = type === Filetype.DIRECTORY ? directoryRights : fileRights;
      const writes = (asked & Right.FD_WRITE) !== 0;
      const opened = table.add({
        host,
        type,
        rights: asked & possible & (writes ? -1 : ~writeRights),
        inheriting: Number(BigInt.asUintN(30, inheriting)) & parent.inheriting,
        flags: fdflags,
        readOnly: parent.readOnly,
      });
      memory.setU32(out, opened);
      return Errno.SUCCESS;
    },

    path_readlink(
      fd: number,
      path: number,
      length: number,
      out: number,
      size: number,
      used: number,
    ): number {
      const { host } = table.directory(fd, Right.PATH_READLINK);
      using found = locate(host, pathOf(wasi, path, length), "slash");
      const target = readLink(found.directory, found.name);
      if (target === undefined) {
        // Not there, or no link: the kernel says which.
        checked(libc.readlinkat(found.directory, found.name, memory.address(out, 0), 1));
        return Errno.INVAL;
      }
      const piece = target.subarray(0, size >>> 0);
      memory.bytes(out, piece.length).set(piece);
      memory.setU32(used, piece.length);
      return Errno.SUCCESS;
    },

    path_remove_directory(fd: number, path: number, length: number): number {
      const { host } = table.writable(fd, Right.PATH_REMOVE_DIRECTORY);
      using found = locate(host, pathOf(wasi, path, length), "keep");
      checked(libc.unlinkat(found.directory, withSlash(found), AT_REMOVEDIR));
      return Errno.SUCCESS;
    },

    path_rename(
      oldFd: number,
      oldPath: number,
      oldLength: number,
      newFd: number,
      newPath: number,
      newLength: number,
    ): number {
      const from = table.writable(oldFd, Right.PATH_RENAME_SOURCE);
      const to = table.writable(newFd, Right.PATH_RENAME_TARGET);
      using old = locate(from.host, pathOf(wasi, oldPath, oldLength), "keep");
      using made = locate(to.host, pathOf(wasi, newPath, newLength), "keep");
      checked(libc.renameat(old.directory, withSlash(old), made.directory, withSlash(made)));
      return Errno.SUCCESS;
    },

    path_symlink(
      target: number,
      targetLength: number,
      fd: number,
      path: number,
      length: number,
    ): number {
      const { host } = table.writable(fd, Right.PATH_SYMLINK);
      const text = pathOf(wasi, target, targetLength);
      if (text.includes(0)) return Errno.INVAL;
      // It could never be followed, and the host's own tools would follow it out.
      if (text[0] === "/".charCodeAt(0)) return Errno.PERM;
      using made = locate(host, pathOf(wasi, path, length), "keep");
      const ended = new Uint8Array(text.length + 1);
      ended.set(text);
      checked(libc.symlinkat(ended, made.directory, withSlash(made)));
      return Errno.SUCCESS;
    },

    path_unlink_file(fd: number, path: number, length: number): number {
      const { host } = table.writable(fd, Right.PATH_UNLINK_FILE);
      using found = locate(host, pathOf(wasi, path, length), "keep");
      checked(libc.unlinkat(found.directory, withSlash(found), 0));
      return Errno.SUCCESS;
    },
  };
}
