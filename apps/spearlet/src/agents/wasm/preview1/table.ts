/**
 * The guest's descriptors. A number of the guest is never a number of the
 * host, and nothing gets in but the three standard streams, the directories
 * that the task was given and what is opened below them (S1).
 */
import { kernel } from "../system/kernel.ts";
import type { Reachable } from "../system/landlock.ts";
import { Errno, Filetype, directoryRights, fileRights, stdinRights, stdoutRights } from "./abi.ts";
import { WasiError } from "./memory.ts";

/** Most descriptors of one guest at the same time. */
const maxDescriptors = 1024;
const firstFree = 3;

export interface Descriptor {
  /** Descriptor of the host; -1 for standard input, which is kept in memory. */
  readonly host: number;
  /** Kind of file, as in `Filetype`. */
  readonly type: number;
  /** What may be done with it, and with what is opened below it. */
  rights: number;
  inheriting: number;
  /** Its flags as last set, as in `Fdflag`. */
  flags: number;
  /** Nothing below may be changed. */
  readonly readOnly: boolean;
  /** Name under which the guest was given it. */
  readonly preopen?: Uint8Array;
  /** Which standard stream it is. */
  readonly stdio?: 0 | 1 | 2;
}

export class Table implements Disposable {
  readonly #open = new Map<number, Descriptor>();

  constructor() {
    const stream = { type: Filetype.UNKNOWN, inheriting: 0, flags: 0, readOnly: false };
    this.#open.set(0, { ...stream, host: -1, rights: stdinRights, stdio: 0 });
    this.#open.set(1, { ...stream, host: 1, rights: stdoutRights, stdio: 1 });
    this.#open.set(2, { ...stream, host: 2, rights: stdoutRights, stdio: 2 });
  }

  /** Gives the guest an open directory under a name. */
  preopen(host: number, name: string, readOnly: boolean): void {
    this.add({
      host,
      type: Filetype.DIRECTORY,
      rights: directoryRights,
      inheriting: directoryRights | fileRights,
      flags: 0,
      readOnly,
      preopen: new TextEncoder().encode(name),
    });
  }

  /** The open directories. */
  directories(): Reachable[] {
    return [...this.#open.values()]
      .filter(({ type }) => type === Filetype.DIRECTORY)
      .map(({ host, readOnly }) => ({ fd: host, readOnly }));
  }

  /** Its new number; closes `host` and throws `mfile` when there are too many. */
  add(descriptor: Descriptor): number {
    if (this.#open.size >= maxDescriptors) {
      kernel.close(descriptor.host);
      throw new WasiError(Errno.MFILE);
    }
    let fd = firstFree;
    while (this.#open.has(fd)) fd++;
    this.#open.set(fd, descriptor);
    return fd;
  }

  /** The descriptor of that number. Throws `badf`. */
  get(fd: number): Descriptor {
    const found = this.#open.get(fd >>> 0);
    if (found === undefined) throw new WasiError(Errno.BADF);
    return found;
  }

  /** The descriptor, if it has all those rights. Throws `badf` or `notcapable`. */
  having(fd: number, rights: number): Descriptor {
    const found = this.get(fd);
    if ((found.rights & rights) !== rights) throw new WasiError(Errno.NOTCAPABLE);
    return found;
  }

  /** The directory, if it has all those rights. Throws `badf`, `notdir` or `notcapable`. */
  directory(fd: number, rights: number): Descriptor {
    const found = this.get(fd);
    if (found.type !== Filetype.DIRECTORY) throw new WasiError(Errno.NOTDIR);
    if ((found.rights & rights) !== rights) throw new WasiError(Errno.NOTCAPABLE);
    return found;
  }

  /** The directory, if its files may be changed. Throws also `rofs`. */
  writable(fd: number, rights: number): Descriptor {
    const found = this.directory(fd, rights);
    if (found.readOnly) throw new WasiError(Errno.ROFS);
    return found;
  }

  close(fd: number): void {
    this.#release(this.get(fd));
    this.#open.delete(fd >>> 0);
  }

  /** Moves `from` to the number `to`, which must be open and is closed by it. */
  renumber(from: number, to: number): void {
    const moved = this.get(from);
    const replaced = this.get(to);
    if (moved === replaced) return;
    this.#release(replaced);
    this.#open.set(to >>> 0, moved);
    this.#open.delete(from >>> 0);
  }

  /** The standard streams stay open on the host: the next guest of this child needs them. */
  #release(descriptor: Descriptor): void {
    if (descriptor.stdio === undefined) kernel.close(descriptor.host);
  }

  [Symbol.dispose](): void {
    for (const descriptor of this.#open.values()) this.#release(descriptor);
    this.#open.clear();
  }
}
