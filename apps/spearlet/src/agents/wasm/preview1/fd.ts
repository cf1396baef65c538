/**
 * `fd_*`: what a guest does with a descriptor. Offsets, append mode and sharing
 * are the kernel's own; rights are checked here.
 */
import { eachEntry, statusOf, timePair, type NewTime, type Status } from "../system/files.ts";
import { O, checked, kernel, uninterrupted } from "../system/kernel.ts";
import { Errno, Fdflag, Filetype, Fstflag, Right, filetypeOf } from "./abi.ts";
import { WasiError } from "./memory.ts";
import type { Descriptor } from "./table.ts";
import type { Preview1 } from "./host.ts";

const F_SETFL = 4;
const SEEK_SET = 0;
const SEEK_CUR = 1;
const SEEK_END = 2;
/** preview1's advice → Linux's: sequential and random change places. */
const advices = [0, 2, 1, 3, 4, 5];
const direntHeader = 24;

/** Writes a `filestat` into guest memory. */
export function writeFilestat({ memory }: Preview1, status: Status, out: number): void {
  memory.setU64(out, status.device);
  memory.setU64(out + 8, status.inode);
  memory.setU64(out + 16, BigInt(filetypeOf(status.mode)));
  memory.setU64(out + 24, status.links);
  memory.setU64(out + 32, status.size);
  memory.setU64(out + 40, status.accessedNs);
  memory.setU64(out + 48, status.modifiedNs);
  memory.setU64(out + 56, status.changedNs);
}

/** The times that a request wants set. Throws `inval` for contradictions. */
export function timesOf(
  atim: bigint,
  mtim: bigint,
  flags: number,
): [accessed: NewTime, modified: NewTime] {
  const { ATIM, ATIM_NOW, MTIM, MTIM_NOW } = Fstflag;
  if ((flags & ~(ATIM | ATIM_NOW | MTIM | MTIM_NOW)) !== 0) throw new WasiError(Errno.INVAL);
  const time = (given: number, now: number, value: bigint): NewTime => {
    const [exact, present] = [(flags & given) !== 0, (flags & now) !== 0];
    if (exact && present) throw new WasiError(Errno.INVAL);
    if (exact) return BigInt.asUintN(64, value);
    return present ? "now" : "keep";
  };
  return [time(ATIM, ATIM_NOW, atim), time(MTIM, MTIM_NOW, mtim)];
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

export function fdFunctions(wasi: Preview1) {
  const { table, memory } = wasi;
  return {
    fd_advise(fd: number, offset: bigint, length: bigint, advice: number): number {
      const { host } = file(wasi, fd, Right.FD_ADVISE);
      const linux = advices[advice];
      if (linux === undefined) return Errno.INVAL;
      checked(kernel.fadvise64(host, offset, length, linux));
      return Errno.SUCCESS;
    },

    fd_allocate(fd: number, offset: bigint, length: bigint): number {
      const { host } = file(wasi, fd, Right.FD_ALLOCATE);
      checked(kernel.fallocate(host, 0, offset, length));
      return Errno.SUCCESS;
    },

    fd_close(fd: number): number {
      table.close(fd);
      return Errno.SUCCESS;
    },

    fd_datasync(fd: number): number {
      checked(kernel.fdatasync(table.having(fd, Right.FD_DATASYNC).host));
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
        checked(kernel.fcntl(found.host, F_SETFL, openFlagsOf(flags)));
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
        writeFilestat(wasi, statusOf(found.host), out);
        return Errno.SUCCESS;
      }
      memory.bytes(out, 64).fill(0);
      memory.setU64(out + 24, 1n);
      return Errno.SUCCESS;
    },

    fd_filestat_set_size(fd: number, size: bigint): number {
      checked(kernel.ftruncate(file(wasi, fd, Right.FD_FILESTAT_SET_SIZE).host, size));
      return Errno.SUCCESS;
    },

    fd_filestat_set_times(fd: number, atim: bigint, mtim: bigint, flags: number): number {
      const found = table.having(fd, Right.FD_FILESTAT_SET_TIMES);
      if (found.readOnly) return Errno.ROFS;
      checked(kernel.utimensat(found.host, null, timePair(...timesOf(atim, mtim, flags)), 0));
      return Errno.SUCCESS;
    },

    fd_pread(fd: number, list: number, count: number, offset: bigint, out: number): number {
      const { host } = readable(wasi, fd, Right.FD_SEEK);
      const { address, count: used } = memory.vectors(list, count);
      memory.setU32(
        out,
        uninterrupted(() => kernel.preadv(host, address, used, offset, 0)),
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
        uninterrupted(() => kernel.pwritev(host, address, used, offset, 0)),
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
        uninterrupted(() => kernel.readv(host, address, used)),
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
      eachEntry(host, cookie, ({ next, inode, type, name }) => {
        header.setBigUint64(0, next, true);
        header.setBigUint64(8, inode, true);
        header.setUint32(16, name.length, true);
        header.setUint8(20, filetypeOf(type));
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
      memory.setU64(out, BigInt(checked(kernel.lseek(host, offset, whence))));
      return Errno.SUCCESS;
    },

    fd_sync(fd: number): number {
      checked(kernel.fsync(table.having(fd, Right.FD_SYNC).host));
      return Errno.SUCCESS;
    },

    fd_tell(fd: number, out: number): number {
      const { host } = file(wasi, fd, Right.FD_TELL);
      memory.setU64(out, BigInt(checked(kernel.lseek(host, 0, SEEK_CUR))));
      return Errno.SUCCESS;
    },

    fd_write(fd: number, list: number, count: number, out: number): number {
      const { host, stdio } = writable(wasi, fd);
      const { address, count: used } = memory.vectors(list, count);
      const written = uninterrupted(() => kernel.writev(host, address, used));
      if (stdio === 1) wasi.written.stdout += written;
      if (stdio === 2) wasi.written.stderr += written;
      memory.setU32(out, written);
      return Errno.SUCCESS;
    },
  };
}
