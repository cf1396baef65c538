/**
 * `fd_*`: what a guest does with a descriptor. Offsets, append mode and sharing
 * are the kernel's own; rights are checked here.
 */
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  E,
  O,
  SystemError,
  checked,
  errno,
  libc,
  scratch,
} from "../libc.ts";
import { Errno, Fdflag, Filetype, Fstflag, Right, errnoOf, filetypeOf } from "./abi.ts";
import { WasiError } from "./memory.ts";
import type { Descriptor } from "./table.ts";
import type { Preview1 } from "./host.ts";

const emptyPath = new Uint8Array(1);
const status = scratch(256);
const statusMask = 0x7ff;
const times = scratch(32);
const utimeNow = 0x3fff_ffff;
const utimeOmit = 0x3fff_fffe;
const F_SETFL = 4;
const SEEK_SET = 0;
const SEEK_CUR = 1;
const SEEK_END = 2;
/** preview1's advice → Linux's: sequential and random change places. */
const advices = [0, 2, 1, 3, 4, 5];
const entries = scratch(32 * 1024);
const direntHeader = 24;

/** Fills the scratch status of a name in a directory, or of `directory` itself. */
function stat(directory: number, name: Uint8Array, flags: number): DataView {
  checked(libc.statx(directory, name, flags, statusMask, status.address));
  return status.view;
}

function nanoseconds(view: DataView, at: number): bigint {
  const value = view.getBigInt64(at, true) * 1_000_000_000n + BigInt(view.getUint32(at + 8, true));
  return BigInt.asUintN(64, value);
}

/** The kind of file behind an open descriptor of the host. */
export function typeOf(host: number): number {
  return filetypeOf(stat(host, emptyPath, AT_EMPTY_PATH).getUint16(28, true));
}

/** Writes a `filestat` of a name in a directory into guest memory; gives its type. */
export function writeFilestat(
  { memory }: Preview1,
  directory: number,
  name: Uint8Array,
  flags: number,
  out: number,
): number {
  const from = stat(directory, name, flags);
  const type = filetypeOf(from.getUint16(28, true));
  const device = (BigInt(from.getUint32(136, true)) << 32n) | BigInt(from.getUint32(140, true));
  memory.setU64(out, device);
  memory.setU64(out + 8, from.getBigUint64(32, true));
  memory.setU64(out + 16, BigInt(type));
  memory.setU64(out + 24, BigInt(from.getUint32(16, true)));
  memory.setU64(out + 32, from.getBigUint64(40, true));
  memory.setU64(out + 40, nanoseconds(from, 64));
  memory.setU64(out + 48, nanoseconds(from, 112));
  memory.setU64(out + 56, nanoseconds(from, 96));
  return type;
}

/** The kernel's pair of times for a preview1 request. Throws `inval` for contradictions. */
export function timesOf(atim: bigint, mtim: bigint, flags: number) {
  const { ATIM, ATIM_NOW, MTIM, MTIM_NOW } = Fstflag;
  const both = (one: number, other: number) => (flags & one) !== 0 && (flags & other) !== 0;
  if (both(ATIM, ATIM_NOW) || both(MTIM, MTIM_NOW) || (flags & ~15) !== 0) {
    throw new WasiError(Errno.INVAL);
  }
  const put = (at: number, given: number, now: number, value: bigint) => {
    const time = BigInt.asUintN(64, value);
    const exact = (flags & given) !== 0;
    times.view.setBigInt64(at, exact ? time / 1_000_000_000n : 0n, true);
    const fraction = exact ? time % 1_000_000_000n : (flags & now) !== 0 ? utimeNow : utimeOmit;
    times.view.setBigInt64(at + 8, BigInt(fraction), true);
  };
  put(0, ATIM, ATIM_NOW, atim);
  put(16, MTIM, MTIM_NOW, mtim);
  return times.address;
}

/** Preview1's flags as those of open(2). */
export function openFlagsOf(flags: number): number {
  return (
    (flags & Fdflag.APPEND ? O.APPEND : 0) |
    (flags & Fdflag.NONBLOCK ? O.NONBLOCK : 0) |
    (flags & Fdflag.DSYNC ? O.DSYNC : 0) |
    (flags & (Fdflag.SYNC | Fdflag.RSYNC) ? O.SYNC : 0)
  );
}

/** Reading without the right is what POSIX calls a bad descriptor. */
function readable(wasi: Preview1, fd: number, also = 0): Descriptor {
  const found = wasi.table.get(fd);
  if (found.type === Filetype.DIRECTORY) throw new WasiError(Errno.ISDIR);
  if ((found.rights & Right.FD_READ) === 0) throw new WasiError(Errno.BADF);
  return seekable(found, also);
}

function writable(wasi: Preview1, fd: number, also = 0): Descriptor {
  const found = wasi.table.get(fd);
  if (found.type === Filetype.DIRECTORY) throw new WasiError(Errno.ISDIR);
  if ((found.rights & Right.FD_WRITE) === 0) throw new WasiError(Errno.BADF);
  return seekable(found, also);
}

function seekable(found: Descriptor, rights: number): Descriptor {
  if (rights !== 0 && found.stdio !== undefined) throw new WasiError(Errno.SPIPE);
  if ((found.rights & rights) !== rights) throw new WasiError(Errno.NOTCAPABLE);
  return found;
}

/** A regular file for the calls that only make sense there. */
function file(wasi: Preview1, fd: number, rights: number): Descriptor {
  const found = wasi.table.get(fd);
  if (found.type === Filetype.DIRECTORY) throw new WasiError(Errno.ISDIR);
  return seekable(found, rights);
}

/** A posix_* function's result: the error number itself. */
function direct(error: number): number {
  return error === 0 ? Errno.SUCCESS : errnoOf(error);
}

function readStdin(wasi: Preview1, list: number, count: number): number {
  let total = 0;
  for (const buffer of wasi.memory.buffers(list, count)) {
    const piece = wasi.stdin.subarray(0, buffer.length);
    buffer.set(piece);
    wasi.stdin = wasi.stdin.subarray(piece.length);
    total += piece.length;
    if (piece.length < buffer.length) break;
  }
  return total;
}

/** One call of the kernel that may be interrupted before it did anything. */
function uninterrupted(call: () => number | bigint): number {
  for (;;) {
    const result = Number(call());
    if (result >= 0) return result;
    if (errno() !== E.INTR) throw new SystemError(errno());
  }
}

/** A directory's entries behind `cookie`, each as the kernel keeps it, until `take` has enough. */
function eachEntry(
  host: number,
  cookie: bigint,
  take: (view: DataView, at: number, name: Uint8Array) => boolean,
): void {
  checked(libc.lseek(host, cookie, SEEK_SET));
  for (;;) {
    const size = checked(libc.getdents64(host, entries.address, entries.bytes.length));
    if (size === 0) return;
    for (let at = 0; at < size; at += entries.view.getUint16(at + 16, true)) {
      const name = entries.bytes.subarray(at + 19, entries.bytes.indexOf(0, at + 19));
      if (!take(entries.view, at, name)) return;
    }
  }
}

/** File systems may leave the type out of a directory's entries. */
function entryType(host: number, type: number, name: Uint8Array): number {
  if (type !== 0) return filetypeOf(type << 12);
  const ended = new Uint8Array(name.length + 1);
  ended.set(name);
  return filetypeOf(stat(host, ended, AT_SYMLINK_NOFOLLOW).getUint16(28, true));
}

export function fdFunctions(wasi: Preview1) {
  const { table, memory } = wasi;
  return {
    fd_advise(fd: number, offset: bigint, length: bigint, advice: number): number {
      const { host } = file(wasi, fd, Right.FD_ADVISE);
      const linux = advices[advice];
      if (linux === undefined) return Errno.INVAL;
      return direct(libc.posix_fadvise(host, offset, length, linux));
    },

    fd_allocate(fd: number, offset: bigint, length: bigint): number {
      const { host } = file(wasi, fd, Right.FD_ALLOCATE);
      return direct(libc.posix_fallocate(host, offset, length));
    },

    fd_close(fd: number): number {
      table.close(fd);
      return Errno.SUCCESS;
    },

    fd_datasync(fd: number): number {
      checked(libc.fdatasync(table.having(fd, Right.FD_DATASYNC).host));
      return Errno.SUCCESS;
    },

    fd_fdstat_get(fd: number, out: number): number {
      const found = table.get(fd);
      memory.setU8(out, found.type);
      memory.setU8(out + 1, 0);
      memory.setU16(out + 2, found.flags);
      memory.setU32(out + 4, 0);
      memory.setU64(out + 8, BigInt(found.rights));
      memory.setU64(out + 16, BigInt(found.inheriting));
      return Errno.SUCCESS;
    },

    fd_fdstat_set_flags(fd: number, flags: number): number {
      const found = table.having(fd, Right.FD_FDSTAT_SET_FLAGS);
      const settable = Fdflag.APPEND | Fdflag.NONBLOCK;
      if ((flags & ~31) !== 0) return Errno.INVAL;
      // Linux can't change the others of an open file.
      if (((flags ^ found.flags) & ~settable) !== 0) return Errno.NOTSUP;
      if (found.stdio === undefined) {
        checked(libc.fcntl(found.host, F_SETFL, openFlagsOf(flags)));
      }
      found.flags = flags;
      return Errno.SUCCESS;
    },

    fd_fdstat_set_rights(fd: number, base: bigint, inheriting: bigint): number {
      const found = table.get(fd);
      const more = (base & ~BigInt(found.rights)) | (inheriting & ~BigInt(found.inheriting));
      if (BigInt.asUintN(64, more) !== 0n) return Errno.NOTCAPABLE;
      found.rights = Number(base);
      found.inheriting = Number(inheriting);
      return Errno.SUCCESS;
    },

    fd_filestat_get(fd: number, out: number): number {
      const found = table.having(fd, Right.FD_FILESTAT_GET);
      if (found.stdio === undefined) {
        writeFilestat(wasi, found.host, emptyPath, AT_EMPTY_PATH, out);
        return Errno.SUCCESS;
      }
      memory.bytes(out, 64).fill(0);
      memory.setU64(out + 24, 1n);
      return Errno.SUCCESS;
    },

    fd_filestat_set_size(fd: number, size: bigint): number {
      checked(libc.ftruncate(file(wasi, fd, Right.FD_FILESTAT_SET_SIZE).host, size));
      return Errno.SUCCESS;
    },

    fd_filestat_set_times(fd: number, atim: bigint, mtim: bigint, flags: number): number {
      const found = table.having(fd, Right.FD_FILESTAT_SET_TIMES);
      if (found.readOnly) return Errno.ROFS;
      checked(libc.futimens(found.host, timesOf(atim, mtim, flags)));
      return Errno.SUCCESS;
    },

    fd_pread(fd: number, list: number, count: number, offset: bigint, out: number): number {
      const { host } = readable(wasi, fd, Right.FD_SEEK);
      const { address, count: used } = memory.vectors(list, count);
      memory.setU32(
        out,
        uninterrupted(() => libc.preadv(host, address, used, offset)),
      );
      return Errno.SUCCESS;
    },

    fd_prestat_get(fd: number, out: number): number {
      const { preopen } = table.get(fd);
      if (preopen === undefined) return Errno.BADF;
      memory.setU32(out, 0);
      memory.setU32(out + 4, preopen.length);
      return Errno.SUCCESS;
    },

    fd_prestat_dir_name(fd: number, out: number, size: number): number {
      const { preopen } = table.get(fd);
      if (preopen === undefined) return Errno.BADF;
      if (size >>> 0 < preopen.length) return Errno.NAMETOOLONG;
      memory.bytes(out, preopen.length).set(preopen);
      return Errno.SUCCESS;
    },

    fd_pwrite(fd: number, list: number, count: number, offset: bigint, out: number): number {
      const { host } = writable(wasi, fd, Right.FD_SEEK);
      const { address, count: used } = memory.vectors(list, count);
      memory.setU32(
        out,
        uninterrupted(() => libc.pwritev(host, address, used, offset)),
      );
      return Errno.SUCCESS;
    },

    fd_read(fd: number, list: number, count: number, out: number): number {
      const { host, stdio } = readable(wasi, fd);
      if (stdio === 0) {
        memory.setU32(out, readStdin(wasi, list, count));
        return Errno.SUCCESS;
      }
      const { address, count: used } = memory.vectors(list, count);
      memory.setU32(
        out,
        uninterrupted(() => libc.readv(host, address, used)),
      );
      return Errno.SUCCESS;
    },

    fd_readdir(fd: number, out: number, size: number, cookie: bigint, used: number): number {
      const { host } = table.directory(fd, Right.FD_READDIR);
      const buffer = memory.bytes(out, size);
      const header = new DataView(new ArrayBuffer(direntHeader));
      const headerBytes = new Uint8Array(header.buffer);
      let filled = 0;
      const put = (bytes: Uint8Array) => {
        const piece = bytes.subarray(0, buffer.length - filled);
        buffer.set(piece, filled);
        filled += piece.length;
      };
      eachEntry(host, cookie, (view, at, name) => {
        header.setBigUint64(0, view.getBigUint64(at + 8, true), true);
        header.setBigUint64(8, view.getBigUint64(at, true), true);
        header.setUint32(16, name.length, true);
        header.setUint8(20, entryType(host, view.getUint8(at + 18), name));
        put(headerBytes);
        put(name);
        return filled < buffer.length;
      });
      memory.setU32(used, filled);
      return Errno.SUCCESS;
    },

    fd_renumber(from: number, to: number): number {
      table.renumber(from, to);
      return Errno.SUCCESS;
    },

    fd_seek(fd: number, offset: bigint, whence: number, out: number): number {
      const found = file(wasi, fd, 0);
      // Asking where one stands needs only the right to ask.
      const asking = offset === 0n && whence === SEEK_CUR && (found.rights & Right.FD_TELL) !== 0;
      const { host } = seekable(found, asking ? Right.FD_TELL : Right.FD_SEEK);
      if (whence < SEEK_SET || whence > SEEK_END) return Errno.INVAL;
      memory.setU64(out, BigInt(checked(libc.lseek(host, offset, whence))));
      return Errno.SUCCESS;
    },

    fd_sync(fd: number): number {
      checked(libc.fsync(table.having(fd, Right.FD_SYNC).host));
      return Errno.SUCCESS;
    },

    fd_tell(fd: number, out: number): number {
      const { host } = file(wasi, fd, Right.FD_TELL);
      memory.setU64(out, BigInt(checked(libc.lseek(host, 0, SEEK_CUR))));
      return Errno.SUCCESS;
    },

    fd_write(fd: number, list: number, count: number, out: number): number {
      const { host, stdio } = writable(wasi, fd);
      const { address, count: used } = memory.vectors(list, count);
      const written = uninterrupted(() => libc.writev(host, address, used));
      if (stdio === 1) wasi.written.stdout += written;
      if (stdio === 2) wasi.written.stderr += written;
      memory.setU32(out, written);
      return Errno.SUCCESS;
    },
  };
}
