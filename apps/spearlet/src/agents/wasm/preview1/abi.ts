/**
 * The numbers of WASI preview1 (`wasi_snapshot_preview1`): error codes, rights,
 * flags and the kinds of files, and how Linux's own map to them.
 */

import { FileType, typeBits } from "../system/files.ts";

/** Error codes that the host itself names; the rest comes through `errnoOf`. */
export const Errno = {
  SUCCESS: 0,
  ACCES: 2,
  BADF: 8,
  FAULT: 21,
  ILSEQ: 25,
  INVAL: 28,
  IO: 29,
  ISDIR: 31,
  MFILE: 33,
  NAMETOOLONG: 37,
  NOSYS: 52,
  NOTDIR: 54,
  NOTSOCK: 57,
  NOTSUP: 58,
  OVERFLOW: 61,
  PERM: 63,
  ROFS: 69,
  SPIPE: 70,
  NOTCAPABLE: 76,
} as const;

/** Linux error number → preview1 error code, by position in the ABI's alphabet. */
const fromLinux = new Map<number, number>([
  [7, 1], // E2BIG
  [13, 2], // EACCES
  [98, 3], // EADDRINUSE
  [99, 4], // EADDRNOTAVAIL
  [97, 5], // EAFNOSUPPORT
  [11, 6], // EAGAIN
  [114, 7], // EALREADY
  [9, 8], // EBADF
  [74, 9], // EBADMSG
  [16, 10], // EBUSY
  [125, 11], // ECANCELED
  [10, 12], // ECHILD
  [103, 13], // ECONNABORTED
  [111, 14], // ECONNREFUSED
  [104, 15], // ECONNRESET
  [35, 16], // EDEADLK
  [89, 17], // EDESTADDRREQ
  [33, 18], // EDOM
  [122, 19], // EDQUOT
  [17, 20], // EEXIST
  [14, 21], // EFAULT
  [27, 22], // EFBIG
  [113, 23], // EHOSTUNREACH
  [43, 24], // EIDRM
  [84, 25], // EILSEQ
  [115, 26], // EINPROGRESS
  [4, 27], // EINTR
  [22, 28], // EINVAL
  [5, 29], // EIO
  [106, 30], // EISCONN
  [21, 31], // EISDIR
  [40, 32], // ELOOP
  [24, 33], // EMFILE
  [31, 34], // EMLINK
  [90, 35], // EMSGSIZE
  [72, 36], // EMULTIHOP
  [36, 37], // ENAMETOOLONG
  [100, 38], // ENETDOWN
  [102, 39], // ENETRESET
  [101, 40], // ENETUNREACH
  [23, 41], // ENFILE
  [105, 42], // ENOBUFS
  [19, 43], // ENODEV
  [2, 44], // ENOENT
  [8, 45], // ENOEXEC
  [37, 46], // ENOLCK
  [67, 47], // ENOLINK
  [12, 48], // ENOMEM
  [42, 49], // ENOMSG
  [92, 50], // ENOPROTOOPT
  [28, 51], // ENOSPC
  [38, 52], // ENOSYS
  [107, 53], // ENOTCONN
  [20, 54], // ENOTDIR
  [39, 55], // ENOTEMPTY
  [131, 56], // ENOTRECOVERABLE
  [88, 57], // ENOTSOCK
  [95, 58], // EOPNOTSUPP
  [25, 59], // ENOTTY
  [6, 60], // ENXIO
  [75, 61], // EOVERFLOW
  [130, 62], // EOWNERDEAD
  [1, 63], // EPERM
  [32, 64], // EPIPE
  [71, 65], // EPROTO
  [93, 66], // EPROTONOSUPPORT
  [91, 67], // EPROTOTYPE
  [34, 68], // ERANGE
  [30, 69], // EROFS
  [29, 70], // ESPIPE
  [3, 71], // ESRCH
  [116, 72], // ESTALE
  [110, 73], // ETIMEDOUT
  [26, 74], // ETXTBSY
  [18, 75], // EXDEV
]);

/** The preview1 code of a Linux error number; `io` for what the ABI does not know. */
export function errnoOf(linux: number): number {
  return fromLinux.get(linux) ?? Errno.IO;
}

/** Kinds of files. */
export const Filetype = {
  UNKNOWN: 0,
  BLOCK_DEVICE: 1,
  CHARACTER_DEVICE: 2,
  DIRECTORY: 3,
  REGULAR_FILE: 4,
  SOCKET_DGRAM: 5,
  SOCKET_STREAM: 6,
  SYMBOLIC_LINK: 7,
} as const;

/** The kind of a file by its Linux mode. */
export function filetypeOf(mode: number): number {
  switch (typeBits(mode)) {
    case FileType.BLOCK_DEVICE:
      return Filetype.BLOCK_DEVICE;
    case FileType.CHARACTER_DEVICE:
      return Filetype.CHARACTER_DEVICE;
    case FileType.DIRECTORY:
      return Filetype.DIRECTORY;
    case FileType.REGULAR:
      return Filetype.REGULAR_FILE;
    case FileType.LINK:
      return Filetype.SYMBOLIC_LINK;
    case FileType.SOCKET:
      return Filetype.SOCKET_STREAM;
    default:
      return Filetype.UNKNOWN;
  }
}

/** Rights, one bit each; all 30 fit a small integer. */
export const Right = {
  FD_DATASYNC: 1 << 0,
  FD_READ: 1 << 1,
  FD_SEEK: 1 << 2,
  FD_FDSTAT_SET_FLAGS: 1 << 3,
  FD_SYNC: 1 << 4,
  FD_TELL: 1 << 5,
  FD_WRITE: 1 << 6,
  FD_ADVISE: 1 << 7,
  FD_ALLOCATE: 1 << 8,
  PATH_CREATE_DIRECTORY: 1 << 9,
  PATH_CREATE_FILE: 1 << 10,
  PATH_LINK_SOURCE: 1 << 11,
  PATH_LINK_TARGET: 1 << 12,
  PATH_OPEN: 1 << 13,
  FD_READDIR: 1 << 14,
  PATH_READLINK: 1 << 15,
  PATH_RENAME_SOURCE: 1 << 16,
  PATH_RENAME_TARGET: 1 << 17,
  PATH_FILESTAT_GET: 1 << 18,
  PATH_FILESTAT_SET_SIZE: 1 << 19,
  PATH_FILESTAT_SET_TIMES: 1 << 20,
  FD_FILESTAT_GET: 1 << 21,
  FD_FILESTAT_SET_SIZE: 1 << 22,
  FD_FILESTAT_SET_TIMES: 1 << 23,
  PATH_SYMLINK: 1 << 24,
  PATH_REMOVE_DIRECTORY: 1 << 25,
  PATH_UNLINK_FILE: 1 << 26,
  POLL_FD_READWRITE: 1 << 27,
  SOCK_SHUTDOWN: 1 << 28,
  SOCK_ACCEPT: 1 << 29,
} as const;

/** What can be done with a directory. */
export const directoryRights =
  Right.FD_FDSTAT_SET_FLAGS |
  Right.FD_SYNC |
  Right.FD_DATASYNC |
  Right.PATH_CREATE_DIRECTORY |
  Right.PATH_CREATE_FILE |
  Right.PATH_LINK_SOURCE |
  Right.PATH_LINK_TARGET |
  Right.PATH_OPEN |
  Right.FD_READDIR |
  Right.PATH_READLINK |
  Right.PATH_RENAME_SOURCE |
  Right.PATH_RENAME_TARGET |
  Right.PATH_FILESTAT_GET |
  Right.PATH_FILESTAT_SET_SIZE |
  Right.PATH_FILESTAT_SET_TIMES |
  Right.FD_FILESTAT_GET |
  Right.FD_FILESTAT_SET_TIMES |
  Right.PATH_SYMLINK |
  Right.PATH_REMOVE_DIRECTORY |
  Right.PATH_UNLINK_FILE |
  Right.POLL_FD_READWRITE;

/** What can be done with a file that can be read and written. */
export const fileRights =
  Right.FD_DATASYNC |
  Right.FD_READ |
  Right.FD_SEEK |
  Right.FD_FDSTAT_SET_FLAGS |
  Right.FD_SYNC |
  Right.FD_TELL |
  Right.FD_WRITE |
  Right.FD_ADVISE |
  Right.FD_ALLOCATE |
  Right.FD_FILESTAT_GET |
  Right.FD_FILESTAT_SET_SIZE |
  Right.FD_FILESTAT_SET_TIMES |
  Right.POLL_FD_READWRITE;

/** What needs a file that was opened for writing. */
export const writeRights = Right.FD_WRITE | Right.FD_ALLOCATE | Right.FD_FILESTAT_SET_SIZE;

/** What can be done with standard input, and with standard output and error. */
export const stdinRights =
  Right.FD_READ | Right.FD_FDSTAT_SET_FLAGS | Right.FD_FILESTAT_GET | Right.POLL_FD_READWRITE;
export const stdoutRights =
  Right.FD_WRITE | Right.FD_FDSTAT_SET_FLAGS | Right.FD_FILESTAT_GET | Right.POLL_FD_READWRITE;

/** Flags of an open descriptor. */
export const Fdflag = { APPEND: 1, DSYNC: 2, NONBLOCK: 4, RSYNC: 8, SYNC: 16 } as const;
/** Flags of `path_open`. */
export const Oflag = { CREAT: 1, DIRECTORY: 2, EXCL: 4, TRUNC: 8 } as const;
/** Flags that say which times to set, and to what. */
export const Fstflag = { ATIM: 1, ATIM_NOW: 2, MTIM: 4, MTIM_NOW: 8 } as const;
export const LOOKUP_SYMLINK_FOLLOW = 1;
/** Kinds of subscriptions and events of `poll_oneoff`. */
export const Eventtype = { CLOCK: 0, FD_READ: 1, FD_WRITE: 2 } as const;
