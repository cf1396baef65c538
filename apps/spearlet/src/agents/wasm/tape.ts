/**
 * What a guest can't foresee: clocks, randomness, answers to hostcalls. A run can be
 * recorded, and played again from what was recorded: the guest then sees the same, in
 * the same order, and does the same. Each entry: its kind, its length (u32), its bytes.
 */
import { readFileSync } from "node:fs";

const Kind = { CLOCK: 1, RANDOM: 2, CALL: 3 } as const;
const entryBytes = 5;
/** So much is gathered before it is written. */
const gatherBytes = 256 * 1024;

/** A guest that is played again does something else than it did. */
export class Diverged extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Diverged";
  }
}

class Tape {
  #write: ((bytes: Uint8Array) => void) | undefined;
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;
  #played: Uint8Array | undefined;
  #at = 0;

  /** What comes goes neither in nor out. */
  stop(): void {
    this.#flush();
    this.#write = undefined;
    this.#played = undefined;
  }

  /** Records from now on; `write` gets it piece by piece. */
  record(write: (bytes: Uint8Array) => void): void {
    this.stop();
    this.#write = write;
  }

  /** Plays a recording from its start. */
  play(path: string): void {
    this.stop();
    this.#played = readFileSync(path);
    this.#at = 0;
  }

  /** A clock's time. */
  clock(read: () => bigint): bigint {
    if (this.#played !== undefined) {
      const entry = this.#next(Kind.CLOCK);
      return new DataView(entry.buffer, entry.byteOffset).getBigInt64(0, true);
    }
    const value = read();
    if (this.#write !== undefined) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigInt64(0, value, true);
      this.#add(Kind.CLOCK, bytes);
    }
    return value;
  }

  /** Fills `bytes` with what `fill` would fill them with. */
  random(bytes: Uint8Array, fill: () => void): void {
    if (this.#played !== undefined) {
      const entry = this.#next(Kind.RANDOM);
      if (entry.length !== bytes.length) throw new Diverged("it asks for other random bytes");
      bytes.set(entry);
      return;
    }
    fill();
    if (this.#write !== undefined) this.#add(Kind.RANDOM, bytes.slice());
  }

  /** The answer to a hostcall that these bytes ask for. */
  call(request: readonly Uint8Array[], make: () => Uint8Array): Uint8Array {
    if (this.#played === undefined && this.#write === undefined) return make();
    const asked = Bun.hash(Buffer.concat(request));
    if (this.#played !== undefined) {
      const entry = this.#next(Kind.CALL);
      const before = new DataView(entry.buffer, entry.byteOffset).getBigUint64(0, true);
      if (before !== asked) throw new Diverged("it makes another hostcall than it did");
      return entry.subarray(8);
    }
    const answer = make();
    const head = new Uint8Array(8);
    new DataView(head.buffer).setBigUint64(0, asked, true);
    this.#add(Kind.CALL, head, answer.slice());
    return answer;
  }

  #next(kind: number): Uint8Array {
    const played = this.#played as Uint8Array;
    if (this.#at + entryBytes > played.length) throw new Diverged("it goes on where it had ended");
    if (played[this.#at] !== kind) throw new Diverged("it asks for something else than it did");
    const size = new DataView(played.buffer, played.byteOffset).getUint32(this.#at + 1, true);
    const start = this.#at + entryBytes;
    this.#at = start + size;
    return played.slice(start, this.#at);
  }

  #add(kind: number, ...parts: readonly Uint8Array[]): void {
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    const head = new Uint8Array(entryBytes);
    head[0] = kind;
    new DataView(head.buffer).setUint32(1, size, true);
    this.#gathered.push(head, ...parts);
    this.#gatheredBytes += entryBytes + size;
    if (this.#gatheredBytes >= gatherBytes) this.#flush();
  }

  #flush(): void {
    if (this.#gatheredBytes === 0) return;
    this.#write?.(Buffer.concat(this.#gathered));
    this.#gathered = [];
    this.#gatheredBytes = 0;
  }
}

/** The tape of the guest that runs in this process. */
export const tape = new Tape();
