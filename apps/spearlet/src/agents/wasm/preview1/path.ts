/** `path_*`: what a guest does with names below a directory it has; rights are checked here. */
import * as directory from "../system/directory.ts";
import { statusOf } from "../system/files.ts";
import {
  Errno,
  Filetype,
  LOOKUP_SYMLINK_FOLLOW,
  Oflag,
  Right,
  directoryRights,
  fileRights,
  filetypeOf,
  writeRights,
} from "./abi.ts";
import { openFlagsOf, timesOf, writeFilestat } from "./fd.ts";
import { WasiError } from "./memory.ts";
import type { Preview1 } from "./host.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true });
const rightBits = 30;

/** What `path_open` needs of the directory it starts from. */
function neededRights(oflags: number): number {
  return (
    Right.PATH_OPEN |
    (oflags & Oflag.CREAT ? Right.PATH_CREATE_FILE : 0) |
    (oflags & Oflag.TRUNC ? Right.PATH_FILESTAT_SET_SIZE : 0)
  );
}

const follows = (flags: number) => (flags & LOOKUP_SYMLINK_FOLLOW) !== 0;

export function pathFunctions(wasi: Preview1) {
  const { table, memory } = wasi;

  /** A path out of guest memory, as a copy. Throws `ilseq` if it is no UTF-8. */
  function pathAt(at: number, length: number): Uint8Array {
    const bytes = memory.bytes(at, length).slice();
    try {
      utf8.decode(bytes);
    } catch {
      throw new WasiError(Errno.ILSEQ);
    }
    return bytes;
  }

  return {
    path_create_directory(fd: number, path: number, length: number): number {
      const { host } = table.writable(fd, Right.PATH_CREATE_DIRECTORY);
      directory.createDirectory(host, pathAt(path, length));
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
      writeFilestat(wasi, directory.statusAt(host, pathAt(path, length), follows(flags)), out);
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
      directory.setTimesAt(host, pathAt(path, length), follows(flags), ...times);
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
      if (follows(flags)) return Errno.INVAL;
      const path = pathAt(oldPath, oldLength);
      directory.link(from.host, path, to.host, pathAt(newPath, newLength));
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
      const asked = Number(BigInt.asUintN(rightBits, base)) & parent.inheriting;
      const write = (asked & Right.FD_WRITE) !== 0;
      const host = directory.open(parent.host, pathAt(path, length), {
        read: (asked & Right.FD_READ) !== 0,
        write,
        create: (oflags & Oflag.CREAT) !== 0,
        exclusive: (oflags & Oflag.EXCL) !== 0,
        truncate: (oflags & Oflag.TRUNC) !== 0,
        directory: (oflags & Oflag.DIRECTORY) !== 0,
        follow: follows(dirflags),
        more: openFlagsOf(fdflags),
        readOnly: parent.readOnly,
      });
      const type = filetypeOf(statusOf(host).mode);
      const possible = type === Filetype.DIRECTORY ? directoryRights : fileRights;
      const opened = table.add({
        host,
        type,
        rights: asked & possible & (write ? -1 : ~writeRights),
        inheriting: Number(BigInt.asUintN(rightBits, inheriting)) & parent.inheriting,
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
      const target = directory.linkTarget(host, pathAt(path, length));
      const piece = target.subarray(0, size >>> 0);
      memory.bytes(out, piece.length).set(piece);
      memory.setU32(used, piece.length);
      return Errno.SUCCESS;
    },

    path_remove_directory(fd: number, path: number, length: number): number {
      const { host } = table.writable(fd, Right.PATH_REMOVE_DIRECTORY);
      directory.removeDirectory(host, pathAt(path, length));
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
      const path = pathAt(oldPath, oldLength);
      directory.rename(from.host, path, to.host, pathAt(newPath, newLength));
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
      directory.symlink(pathAt(target, targetLength), host, pathAt(path, length));
      return Errno.SUCCESS;
    },

    path_unlink_file(fd: number, path: number, length: number): number {
      const { host } = table.writable(fd, Right.PATH_UNLINK_FILE);
      directory.removeFile(host, pathAt(path, length));
      return Errno.SUCCESS;
    },
  };
}
