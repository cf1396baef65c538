/**
 * `poll_oneoff`: waits for the first of some clocks and descriptors. What is
 * always ready (files, standard input) makes it return at once; the rest is one
 * ppoll with the nearest clock as its limit.
 */
import { kernel, scratch, uninterrupted } from "../system/kernel.ts";
import { Errno, Eventtype, Filetype, Right } from "./abi.ts";
import { clockNs } from "./clocks.ts";
import { WasiError, type GuestMemory } from "./memory.ts";
import type { Preview1 } from "./host.ts";

const subscriptionSize = 48;
const eventSize = 32;
const maxSubscriptions = 4096;
const POLLIN = 1;
const POLLOUT = 4;
const POLLHUP = 0x10;
const hangup = 1;
const lastWallClock = 1;

const polled = scratch(maxSubscriptions * 8);
const limit = scratch(16);

interface Event {
  user: bigint;
  type: number;
  error: number;
  bytes: bigint;
  flags: number;
}

interface Waiting {
  user: bigint;
  type: number;
}

/** A clock that has not come yet, with its time on the clock that it names. */
interface Alarm extends Waiting {
  clock: number;
  atNs: bigint;
}

class Poll {
  readonly events: Event[] = [];
  readonly #alarms: Alarm[] = [];
  readonly #descriptors: Waiting[] = [];
  readonly #wasi: Preview1;

  constructor(wasi: Preview1) {
    this.#wasi = wasi;
  }

  add(memory: GuestMemory, at: number): void {
    const user = memory.u64(at);
    const type = memory.u8(at + 8);
    try {
      if (type === Eventtype.CLOCK) this.#addClock(user, memory, at + 16);
      else if (type === Eventtype.FD_READ || type === Eventtype.FD_WRITE) {
        this.#addDescriptor(user, type, memory.u32(at + 16));
      } else throw new WasiError(Errno.INVAL);
    } catch (error) {
      if (!(error instanceof WasiError) || error.code === Errno.FAULT) throw error;
      this.#happened({ user, type }, { error: error.code });
    }
  }

  #happened({ user, type }: Waiting, more: Partial<Event> = {}): void {
    this.events.push({ user, type, error: Errno.SUCCESS, bytes: 0n, flags: 0, ...more });
  }

  #addClock(user: bigint, memory: GuestMemory, at: number): void {
    const clock = memory.u32(at);
    const timeout = memory.u64(at + 8);
    const absolute = (memory.u16(at + 24) & 1) !== 0;
    const nowNs = clockNs(clock);
    // A clock of CPU time stands still while one waits for it.
    if (clock > lastWallClock) throw new WasiError(Errno.NOTSUP);
    const atNs = absolute ? timeout : nowNs + timeout;
    this.#alarms.push({ user, type: Eventtype.CLOCK, clock, atNs });
  }

  #addDescriptor(user: bigint, type: number, fd: number): void {
    const found = this.#wasi.table.having(fd, Right.POLL_FD_READWRITE);
    if (found.stdio === 0) {
      const bytes = BigInt(this.#wasi.stdin.length);
      this.#happened({ user, type }, { bytes, flags: bytes === 0n ? hangup : 0 });
    } else if (found.type === Filetype.REGULAR_FILE || found.type === Filetype.DIRECTORY) {
      this.#happened({ user, type }, { bytes: 1n });
    } else {
      const at = this.#descriptors.length * 8;
      polled.view.setInt32(at, found.host, true);
      polled.view.setInt16(at + 4, type === Eventtype.FD_READ ? POLLIN : POLLOUT, true);
      polled.view.setInt16(at + 6, 0, true);
      this.#descriptors.push({ user, type });
    }
  }

  /** Waits until there is an event. */
  wait(): void {
    do {
      const restNs = this.events.length > 0 ? 0n : this.#restNs();
      this.#poll(restNs);
      this.#ring();
    } while (this.events.length === 0);
  }

  /** Time to the nearest alarm; undefined if there is none. */
  #restNs(): bigint | undefined {
    let nearest: bigint | undefined;
    for (const { clock, atNs } of this.#alarms) {
      const now = clockNs(clock);
      const rest = atNs > now ? atNs - now : 0n;
      if (nearest === undefined || rest < nearest) nearest = rest;
    }
    return nearest;
  }

  #poll(restNs: bigint | undefined): void {
    if (restNs !== undefined) {
      limit.view.setBigInt64(0, restNs / 1_000_000_000n, true);
      limit.view.setBigInt64(8, restNs % 1_000_000_000n, true);
    }
    const count = this.#descriptors.length;
    const until = restNs === undefined ? null : limit.address;
    uninterrupted(() => kernel.ppoll(polled.address, count, until, null, 0));
    for (const [index, waiting] of this.#descriptors.entries()) {
      const seen = polled.view.getInt16(index * 8 + 6, true);
      if (seen === 0) continue;
      this.#happened(waiting, { bytes: 1n, flags: seen & POLLHUP ? hangup : 0 });
    }
  }

  #ring(): void {
    for (const alarm of this.#alarms) {
      if (clockNs(alarm.clock) >= alarm.atNs) this.#happened(alarm);
    }
  }
}

/** preview1's `poll_oneoff`. */
export function pollOneoff(
  wasi: Preview1,
  subscriptions: number,
  events: number,
  count: number,
  out: number,
): number {
  const { memory } = wasi;
  if (count <= 0 || count > maxSubscriptions) return Errno.INVAL;
  const poll = new Poll(wasi);
  for (let index = 0; index < count; index++) {
    poll.add(memory, (subscriptions >>> 0) + index * subscriptionSize);
  }
  poll.wait();
  for (const [index, event] of poll.events.entries()) {
    const at = (events >>> 0) + index * eventSize;
    memory.bytes(at, eventSize).fill(0);
    memory.setU64(at, event.user);
    memory.setU16(at + 8, event.error);
    memory.setU8(at + 10, event.type);
    memory.setU64(at + 16, event.bytes);
    memory.setU16(at + 24, event.flags);
  }
  memory.setU32(out, poll.events.length);
  return Errno.SUCCESS;
}
