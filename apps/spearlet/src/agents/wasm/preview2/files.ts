/** `wasi:filesystem`: descriptors of files and directories below what the task was given (S1). */
import * as directory from "../system/directory.ts";
import {
  FileType,
  eachEntry,
  statusOf,
  timePair,
  typeBits,
  type NewTime,
  type Status,
} from "../system/files.ts";
import type { Reachable } from "../system/landlock.ts";
import { E, O, SystemError, checked, kernel, uninterrupted } from "../system/kernel.ts";
import { errorCodeOf } from "./errors.ts";
import { InputStream, IoError, OutputStream } from "./io.ts";

const second = 1_000_000_000n;
const SEEK_END = 2;
const maxReadBytes = 1024 * 1024;
const text = new TextEncoder();

interface Datetime {
  seconds: bigint;
  nanoseconds: number;
}
type NewTimestamp = { tag: "no-change" } | { tag: "now" } | { tag: "timestamp"; val: Datetime };
interface PathFlags {
  symlinkFollow?: boolean;
}
interface OpenFlags {
  create?: boolean;
  directory?: boolean;
  exclusive?: boolean;
  truncate?: boolean;
}
interface DescriptorFlags {
  read?: boolean;
  write?: boolean;
  fileIntegritySync?: boolean;
  dataIntegritySync?: boolean;
  requestedWriteSync?: boolean;
  mutateDirectory?: boolean;
}

/** A call whose failure the guest gets as `error-code`. */
function answer<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw Object.assign(new Error("file system error"), { payload: errorCodeOf(error.errno) });
  }
}

function descriptorType(mode: number): string {
  switch (typeBits(mode)) {
    case FileType.DIRECTORY:
      return "directory";
    case FileType.REGULAR:
      return "regular-file";
    case FileType.LINK:
      return "symbolic-link";
    case FileType.FIFO:
      return "fifo";
    case FileType.SOCKET:
      return "socket";
    case FileType.BLOCK_DEVICE:
      return "block-device";
    case FileType.CHARACTER_DEVICE:
      return "character-device";
    default:
      return "unknown";
  }
}

function datetime(ns: bigint): Datetime {
  const time = ns < 0n ? 0n : ns;
  return { seconds: time / second, nanoseconds: Number(time % second) };
}

function newTime(wanted: NewTimestamp): NewTime {
  if (wanted.tag !== "timestamp") return wanted.tag === "now" ? "now" : "keep";
  return wanted.val.seconds * second + BigInt(wanted.val.nanoseconds);
}

function descriptorStat(status: Status) {
  return {
    type: descriptorType(status.mode),
    linkCount: status.links,
    size: status.size,
    dataAccessTimestamp: datetime(status.accessedNs),
    dataModificationTimestamp: datetime(status.modifiedNs),
    statusChangeTimestamp: datetime(status.changedNs),
  };
}

/** The same for the same file, another for another or a changed one. */
function metadataHash({ device, inode, size, modifiedNs, changedNs }: Status) {
  const hash = (seed: bigint) =>
    Bun.hash.wyhash([device, inode, size, modifiedNs, changedNs].join(), seed);
  return { lower: hash(0n), upper: hash(1n) };
}

/** Bytes at a place of an open file; none at its end. */
function readAt(fd: number, offset: bigint, size: number): Uint8Array {
  const buffer = new Uint8Array(Math.min(size, maxReadBytes));
  const got = uninterrupted(() => kernel.pread64(fd, buffer, buffer.length, offset));
  return buffer.subarray(0, got);
}

function writeAt(fd: number, bytes: Uint8Array, offset: bigint): void {
  for (let done = 0; done < bytes.length;) {
    const piece = bytes.subarray(done);
    const at = offset + BigInt(done);
    done += uninterrupted(() => kernel.pwrite64(fd, piece, piece.length, at));
  }
}

const advices = ["normal", "random", "sequential", "will-need", "dont-need", "no-reuse"];

/** `descriptor`. */
export class Descriptor {
  readonly #fd: number;
  readonly #flags: DescriptorFlags;
  readonly #readOnly: boolean;
  #closed = false;

  constructor(fd: number, flags: DescriptorFlags, readOnly: boolean) {
    this.#fd = fd;
    this.#flags = flags;
    this.#readOnly = readOnly;
  }

  /** The open directory, if it may be changed. */
  get #writable(): number {
    if (this.#readOnly) throw new SystemError(E.ROFS);
    return this.#fd;
  }

  /** The directory as the host has it open. */
  reachable(): Reachable {
    return { fd: this.#fd, readOnly: this.#readOnly };
  }

  readViaStream(offset: bigint): InputStream {
    let at = offset;
    return new InputStream((size) => {
      const bytes = readAt(this.#fd, at, size);
      at += BigInt(bytes.length);
      return bytes;
    });
  }

  writeViaStream(offset: bigint): OutputStream {
    let at = offset;
    return new OutputStream((bytes) => {
      writeAt(this.#fd, bytes, at);
      at += BigInt(bytes.length);
    });
  }

  appendViaStream(): OutputStream {
    return new OutputStream((bytes) => {
      writeAt(this.#fd, bytes, BigInt(checked(kernel.lseek(this.#fd, 0, SEEK_END))));
    });
  }

  advise(offset: bigint, length: bigint, advice: string): void {
    const linux = advices.indexOf(advice);
    answer(() => checked(kernel.fadvise64(this.#fd, offset, length, linux)));
  }

  syncData(): void {
    answer(() => checked(kernel.fdatasync(this.#fd)));
  }

  sync(): void {
    answer(() => checked(kernel.fsync(this.#fd)));
  }

  getFlags(): DescriptorFlags {
    return this.#flags;
  }

  getType(): string {
    return answer(() => descriptorType(statusOf(this.#fd).mode));
  }

  setSize(size: bigint): void {
    answer(() => checked(kernel.ftruncate(this.#fd, size)));
  }

  setTimes(accessed: NewTimestamp, modified: NewTimestamp): void {
    answer(() => {
      const pair = timePair(newTime(accessed), newTime(modified));
      checked(kernel.utimensat(this.#writable, null, pair, 0));
    });
  }

  read(length: bigint, offset: bigint): [Uint8Array, boolean] {
    return answer(() => {
      const size = length > maxReadBytes ? maxReadBytes : Number(length);
      const bytes = readAt(this.#fd, offset, size);
      return [bytes, size > 0 && bytes.length === 0];
    });
  }

  write(buffer: Uint8Array, offset: bigint): bigint {
    answer(() => writeAt(this.#fd, buffer, offset));
    return BigInt(buffer.length);
  }

  readDirectory(): DirectoryEntryStream {
    return answer(() => new DirectoryEntryStream(this.#fd));
  }

  createDirectoryAt(path: string): void {
    answer(() => directory.createDirectory(this.#writable, text.encode(path)));
  }

  stat() {
    return answer(() => descriptorStat(statusOf(this.#fd)));
  }

  statAt({ symlinkFollow = false }: PathFlags, path: string) {
    return answer(() =>
      descriptorStat(directory.statusAt(this.#fd, text.encode(path), symlinkFollow)),
    );
  }

  setTimesAt(
    { symlinkFollow = false }: PathFlags,
    path: string,
    accessed: NewTimestamp,
    modified: NewTimestamp,
  ): void {
    const times = [newTime(accessed), newTime(modified)] as const;
    answer(() => directory.setTimesAt(this.#writable, text.encode(path), symlinkFollow, ...times));
  }

  linkAt({ symlinkFollow = false }: PathFlags, path: string, to: Descriptor, name: string): void {
    answer(() => {
      if (symlinkFollow) throw new SystemError(E.INVAL);
      directory.link(this.#writable, text.encode(path), to.#writable, text.encode(name));
    });
  }

  openAt(
    { symlinkFollow = false }: PathFlags,
    path: string,
    wanted: OpenFlags,
    flags: DescriptorFlags,
  ): Descriptor {
    const { create = false, exclusive = false, truncate = false } = wanted;
    return answer(() => {
      if (create && wanted.directory === true) throw new SystemError(E.INVAL);
      const fd = directory.open(this.#fd, text.encode(path), {
        read: flags.read ?? false,
        write: flags.write ?? false,
        create,
        exclusive,
        truncate,
        directory: wanted.directory ?? false,
        follow: symlinkFollow,
        more:
          (flags.fileIntegritySync === true ? O.SYNC : 0) |
          (flags.dataIntegritySync === true ? O.DSYNC : 0),
        readOnly: this.#readOnly,
      });
      return new Descriptor(fd, flags, this.#readOnly);
    });
  }

  readlinkAt(path: string): string {
    return answer(() =>
      new TextDecoder().decode(directory.linkTarget(this.#fd, text.encode(path))),
    );
  }

  removeDirectoryAt(path: string): void {
    answer(() => directory.removeDirectory(this.#writable, text.encode(path)));
  }

  renameAt(path: string, to: Descriptor, name: string): void {
    answer(() =>
      directory.rename(this.#writable, text.encode(path), to.#writable, text.encode(name)),
    );
  }

  symlinkAt(target: string, path: string): void {
    answer(() => directory.symlink(text.encode(target), this.#writable, text.encode(path)));
  }

  unlinkFileAt(path: string): void {
    answer(() => directory.removeFile(this.#writable, text.encode(path)));
  }

  isSameObject(other: Descriptor): boolean {
    const [one, two] = [statusOf(this.#fd), statusOf(other.#fd)];
    return one.device === two.device && one.inode === two.inode;
  }

  metadataHash() {
    return answer(() => metadataHash(statusOf(this.#fd)));
  }

  metadataHashAt({ symlinkFollow = false }: PathFlags, path: string) {
    return answer(() =>
      metadataHash(directory.statusAt(this.#fd, text.encode(path), symlinkFollow)),
    );
  }

  [Symbol.dispose](): void {
    if (!this.#closed) kernel.close(this.#fd);
    this.#closed = true;
  }
}

/** `directory-entry-stream`: the entries as they were when it was made. */
export class DirectoryEntryStream {
  readonly #entries: { type: string; name: string }[] = [];
  #next = 0;

  constructor(fd: number) {
    const names = new TextDecoder();
    eachEntry(fd, 0n, ({ type, name }) => {
      const decoded = names.decode(name);
      if (decoded !== "." && decoded !== "..") {
        this.#entries.push({ type: descriptorType(type), name: decoded });
      }
      return true;
    });
  }

  readDirectoryEntry(): { type: string; name: string } | undefined {
    return this.#entries[this.#next++];
  }
}

/** `filesystem-error-code`: what a stream's error says of a file. */
export function filesystemErrorCode(error: unknown): string | undefined {
  return error instanceof IoError ? errorCodeOf(error.errno) : undefined;
}
